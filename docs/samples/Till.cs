using System;
using System.Linq;
using System.Net.Http;
using System.Runtime.Serialization.Json;
using System.Text;
using System.Threading.Tasks;
using System.Xml;
using System.Xml.Linq;

// A till's two loyalty calls in one sale. .NET Framework 4.5, .NET 6 or later, or Mono.
static class Till {
    const int PauseMs = 1000, Attempts = 2;
    // One client for the whole program: it keeps the connection, and asks no proxy.
    static readonly HttpClient Agent = new HttpClient(new HttpClientHandler { UseProxy = false }) {
        Timeout = TimeSpan.FromSeconds(3)
    };

    static void Main(string[] arguments) {
        Console.OutputEncoding = new UTF8Encoding(false);
        Sell(arguments.Length > 0 ? arguments[0] : "http://127.0.0.1:8480").Wait();
    }

    static async Task Sell(string url) {
        var sale = Guid.NewGuid();
        var start = $@"{{""correlationId"":""{sale}"",""channel"":""STORE"",""locale"":""fr-CA""}}";
        var session = await Call("POST", url + "/client/users/anonymous/sessions", start);
        if (session != null) {
            Console.WriteLine("Ask: " + session.Element("promptMessage").Value);
            var answer = @"{""status"":""accepted"",""emailAddress"":""guest@example.com""}";
            await Call("PUT", $"{url}/client/users/{sale}/profile/email", answer);
            Console.WriteLine("Print: " + session.Element("receiptMessage").Value);
        }
        Console.WriteLine("Sold.");
    }

    // Returns the agent's answer, or null: the sale goes on without loyalty.
    static async Task<XElement> Call(string method, string url, string body) {
        for (var attempt = 0; attempt < Attempts; attempt++) { // the same body each time
            await Task.Delay(PauseMs * attempt);
            try {
                var request = new HttpRequestMessage(new HttpMethod(method), url);
                request.Content = new StringContent(body, Encoding.UTF8, "application/json");
                var answer = await Agent.SendAsync(request);
                var content = await answer.Content.ReadAsByteArrayAsync();
                var headers = answer.Headers.ToDictionary(one => one.Key, one => one.Value.First());
                if ((int)answer.StatusCode == 200) {
                    Console.WriteLine("Receipt: " + headers["Loyalty-Receipt"]);
                    var limits = XmlDictionaryReaderQuotas.Max;
                    return XElement.Load(JsonReaderWriterFactory.CreateJsonReader(content, limits));
                }
                Console.Error.WriteLine(headers["Loyalty-Reason"]);
                if ((int)answer.StatusCode < 500) return null; // a repeat would be as wrong
            } catch (Exception lost) when (!(lost is OutOfMemoryException)) {
                Console.Error.WriteLine("no answer: " + lost.Message); // the repeat finds out
            }
        }
        return null;
    }
}
