<?php
// A till's two loyalty calls in one sale. PHP 8.0 or later, no extension.
// PHP's streams open a connection for each call; with the extension curl, keep one handle instead.

const ANSWER_SECONDS = 3, PAUSE_SECONDS = 1, ATTEMPTS = 2;

/** Return the agent's answer, or null: the sale goes on without loyalty. */
function call(string $method, string $url, array $members): ?array
{
    $body = json_encode($members);  // made once: a repeat has the same id and the same body
    $context = stream_context_create(['http' => [
        'method' => $method,
        'content' => $body,
        'header' => "Content-Type: application/json\r\nConnection: close",
        'protocol_version' => 1.1,
        'timeout' => ANSWER_SECONDS,
        'ignore_errors' => true,  // or the body of an error is lost
    ]]);
    for ($attempt = 0; $attempt < ATTEMPTS; $attempt++) {
        sleep(PAUSE_SECONDS * $attempt);
        $stream = @fopen($url, 'r', false, $context);
        $content = $stream ? json_decode(stream_get_contents($stream), true) : null;
        if (!is_array($content)) {
            fwrite(STDERR, "no answer\n");  // recorded or not: the repeat finds out
            continue;
        }
        $head = implode("\n", stream_get_meta_data($stream)['wrapper_data']);
        $status = preg_match('~^HTTP/\S+ (\d+)~', $head, $found) ? (int) $found[1] : 0;
        if ($status === 200) {
            preg_match('~^Loyalty-Receipt: (.*)$~mi', $head, $found);
            echo "Receipt: {$found[1]}\n";
            return $content;
        }
        preg_match('~^Loyalty-Reason: (.*)$~mi', $head, $found);
        fwrite(STDERR, "$status {$found[1]}\n");
        if ($status < 500) {
            return null;  // the request is wrong: a repeat would be as well
        }
    }
    return null;
}

$url = $argv[1] ?? 'http://127.0.0.1:8480';
$sale = bin2hex(random_bytes(16));
$start = ['correlationId' => $sale, 'channel' => 'STORE', 'locale' => 'fr-CA'];
$session = call('POST', "$url/client/users/anonymous/sessions", $start);
if ($session) {
    echo "Ask: {$session['promptMessage']}\n";
    $answer = ['status' => 'accepted', 'emailAddress' => 'guest@example.com'];
    call('PUT', "$url/client/users/$sale/profile/email", $answer);
    echo "Print: {$session['receiptMessage']}\n";
}
echo "Sold.\n";
