// What the programs for the Vercel AI SDK share: the steps of a provider. `chat(key)` and `embedding()` give its models.
import { embedMany, generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import * as given from "./steps.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const City = z.object({ name: z.string(), people: z.number() });
const tools = {
  get_weather: tool({
    description: "What the weather in a city is like.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => given.weather(city),
  }),
};
const usageOf = (usage) => ({ prompt_tokens: usage.inputTokens, completion_tokens: usage.outputTokens });

export function stepsOf(chat, embedding) {
  const options = (prompt, key = given.KEY) => ({ model: chat(key), prompt, maxRetries: 0 });
  const ask = async (prompt, key) => {
    const { text, usage, finishReason } = await generateText({ ...options(prompt, key), maxOutputTokens: 16 });
    return { text, usage: usageOf(usage), finish: finishReason };
  };
  const read = async (prompt) => {
    const failures = [];
    const onError = ({ error }) => failures.push(error);
    const stream = streamText({ ...options(prompt), maxOutputTokens: 16, onError });
    let text = "";
    for await (const piece of stream.textStream) text += piece;
    if (failures.length) throw failures[0];
    return { text, usage: stream.usage };
  };
  return {
    chat: () => ask(given.HELLO),
    truncated: () => ask(given.LONG),
    async stream() {
      const { text, usage } = await read(given.HELLO);
      return { text, usage: usageOf(await usage) };
    },
    broken_off: () => given.raised(() => read(given.BROKEN)),
    async tools() {
      const done = await generateText({ ...options(given.WEATHER), tools, stopWhen: stepCountIs(3) });
      const [called] = done.steps[0].toolCalls;
      return { text: done.text, name: called.toolName, arguments: called.input };
    },
    async structured() {
      return { value: (await generateObject({ ...options(given.CITY), schema: City })).object };
    },
    async embeddings() {
      const { embeddings } = await embedMany({ model: embedding(), values: ["one", "two"], maxRetries: 0 });
      return { vectors: embeddings.length, same_size: embeddings[0].length === embeddings[1].length };
    },
    unauthorised: () => given.raised(() => ask(given.HELLO, given.WRONG_KEY)),
    quota: () => given.raised(() => ask(given.HELLO, given.POOR_KEY)),
    rate_limited: () => given.raised(() => ask(given.LIMIT)),
  };
}
