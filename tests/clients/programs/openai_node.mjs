// OpenAI's SDK for Node.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import * as given from "./steps.mjs";

const client = (apiKey = given.KEY, maxRetries = 0) => new OpenAI({ baseURL: given.BASE_URL, apiKey, maxRetries });
const user = (content) => [{ role: "user", content }];
const model = given.MODEL;
const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

async function ask(made, text = given.HELLO) {
  const reply = await made.chat.completions.create({ model, messages: user(text), max_tokens: 9 });
  const [choice] = reply.choices;
  return { text: choice.message.content, finish: choice.finish_reason, usage: reply.usage };
}

await given.main({
  chat: () => ask(client()),
  truncated: () => ask(client(), given.LONG),
  async stream() {
    const options = { model, messages: user(given.HELLO), max_tokens: 9, stream_options: { include_usage: true } };
    const whole = await client().chat.completions.stream(options).finalChatCompletion();
    return { text: whole.choices[0].message.content, usage: whole.usage };
  },
  async tools() {
    const messages = user(given.WEATHER);
    const runner = client().chat.completions.runTools({
      model,
      messages,
      tools: [{ type: "function", function: { ...tools[0].function, function: ({ city }) => given.weather(city), parse: JSON.parse } }],
    });
    const text = await runner.finalContent();
    const called = runner.messages.find((message) => message.tool_calls).tool_calls[0].function;
    return { text, name: called.name, arguments: JSON.parse(called.arguments) };
  },
  async tools_stream() {
    const stream = client().chat.completions.stream({ model, messages: user(given.WEATHER), tools });
    const [called] = (await stream.finalMessage()).tool_calls;
    return { name: called.function.name, arguments: JSON.parse(called.function.arguments) };
  },
  async structured() {
    const City = z.object({ name: z.string(), people: z.number() });
    const format = { model, messages: user(given.CITY), response_format: zodResponseFormat(City, "city") };
    return { value: (await client().chat.completions.parse(format)).choices[0].message.parsed };
  },
  async responses() {
    return { text: (await client().responses.create({ model, input: given.HELLO })).output_text };
  },
  async embeddings() {
    const reply = await client().embeddings.create({ model: given.EMBEDDING_MODEL, input: ["one", "two"] });
    return { vectors: reply.data.length, same_size: reply.data[0].embedding.length === reply.data[1].embedding.length };
  },
  async models() {
    const ids = [];
    for await (const one of client().models.list()) ids.push(one.id);
    return { ids, found: (await client().models.retrieve(ids[0])).id === ids[0] };
  },
  broken_off: () =>
    given.raised(async () => {
      const stream = await client().chat.completions.create({ model, messages: user(given.BROKEN), stream: true });
      for await (const _ of stream);
    }),
  unauthorised: () => given.raised(() => ask(client(given.WRONG_KEY))),
  quota: () => given.raised(() => ask(client(given.POOR_KEY, 2))),
  rate_limited: () => given.raised(() => ask(client(), given.LIMIT)),
});
