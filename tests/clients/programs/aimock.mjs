// An upstream for the clients: aimock, which calls tools, obeys schemas, stops short and refuses. Prints its address, and
// serves until its standard input is closed.
import { LLMock } from "@copilotkit/aimock";

const city = '{"name":"Paris","people":2100000}';
const mock = new LLMock({ port: 0 });
const on = (match, response) => mock.addFixture({ match, response });

on({ userMessage: "Meet a limit" }, {
  error: { message: "Rate limit reached", type: "rate_limit_error", code: "rate_limit_exceeded" },
  status: 429,
  retryAfter: 7,
});
mock.addFixture({
  match: { userMessage: "Break off" },
  response: { content: "This will not come to its end." },
  chunkSize: 5,
  latency: 50,
  truncateAfterChunks: 3,
});
on({ userMessage: "A long one" }, { content: "This would be lon", finishReason: "length" });
on({ userMessage: "weather", hasToolResult: false }, {
  toolCalls: [{ id: "call_weather", name: "get_weather", arguments: '{"city":"Paris"}' }],
});
on({ userMessage: "weather", hasToolResult: true }, { content: "It is sunny in Paris." });
for (const name of ["City", "PartialCity", "final_result"]) {
  on({ userMessage: "Describe a city", toolName: name }, { toolCalls: [{ id: "call_city", name, arguments: city }] });
}
on({ userMessage: "Describe a city" }, { content: city });
on({ userMessage: "Say hello" }, { content: "Hello from aimock." });
await mock.start();
console.log(`${mock.url}/v1`);
process.stdin.on("end", () => mock.stop().then(() => process.exit(0))).resume();
