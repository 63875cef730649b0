"""Headers of every answer, as in the examples of the reference pages."""

REQUEST_ID = "x-amzn-RequestId"
RECEIPT = "Loyalty-Receipt"
FOR_ALL = {
    "Server": "loyalty-agent",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "sameorigin",
    "Referrer-Policy": "no-referrer",
    "X-XSS-Protection": "1;mode=block",
}
