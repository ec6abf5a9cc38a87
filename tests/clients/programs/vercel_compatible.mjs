// The Vercel AI SDK with @ai-sdk/openai-compatible.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { BASE_URL, EMBEDDING_MODEL, KEY, main, MODEL } from "./steps.mjs";
import { stepsOf } from "./vercel.mjs";

const settings = { name: "chatapi", baseURL: BASE_URL, supportsStructuredOutputs: true, includeUsage: true };
const provider = (apiKey) => createOpenAICompatible({ ...settings, apiKey });
await main(stepsOf((key) => provider(key).chatModel(MODEL), () => provider(KEY).embeddingModel(EMBEDDING_MODEL)));
