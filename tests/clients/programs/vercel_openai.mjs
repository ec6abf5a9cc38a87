// The Vercel AI SDK with @ai-sdk/openai, by chat completions.
import { createOpenAI } from "@ai-sdk/openai";
import { BASE_URL, EMBEDDING_MODEL, KEY, main, MODEL } from "./steps.mjs";
import { stepsOf } from "./vercel.mjs";

const provider = (apiKey) => createOpenAI({ baseURL: BASE_URL, apiKey });
await main(stepsOf((key) => provider(key).chat(MODEL), () => provider(KEY).embedding(EMBEDDING_MODEL)));
