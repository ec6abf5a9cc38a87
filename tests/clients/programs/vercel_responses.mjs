// The Vercel AI SDK with @ai-sdk/openai as it is by default: by responses.
import { createOpenAI } from "@ai-sdk/openai";
import { BASE_URL, EMBEDDING_MODEL, KEY, main, MODEL } from "./steps.mjs";
import { stepsOf } from "./vercel.mjs";

const provider = (apiKey) => createOpenAI({ baseURL: BASE_URL, apiKey });
await main(stepsOf((key) => provider(key)(MODEL), () => provider(KEY).embedding(EMBEDDING_MODEL)));
