// What the programs for Node share: `node PROGRAM STEP …` does the steps and prints one JSON object of results.
const environment = process.env;

export const BASE_URL = environment.CHATAPI_BASE_URL;
export const KEY = environment.CHATAPI_KEY;
export const POOR_KEY = environment.CHATAPI_POOR_KEY;
export const WRONG_KEY = "sk-no-access-token";
export const MODEL = environment.CHATAPI_MODEL;
export const EMBEDDING_MODEL = "text-embedding-3-small";
export const HELLO = "Say hello.";
export const WEATHER = "How is the weather?";
export const CITY = "Describe a city.";
export const LIMIT = "Meet a limit.";
export const BROKEN = "Break off.";
export const LONG = "A long one.";

export const weather = (city) => `It is sunny in ${city}.`;

// The result of a call that must fail.
export async function raised(call) {
  try {
    return { answered: await call() };
  } catch (error) {
    return { error: error.constructor.name, status: error.status ?? error.statusCode ?? null, message: error.message };
  }
}

export async function main(steps) {
  const results = {};
  for (const name of process.argv.slice(2)) {
    try {
      results[name] = await steps[name]();
    } catch (error) {
      results[name] = { failed: `${error.stack}`.slice(0, 2000) };
    }
  }
  console.log(JSON.stringify(results));
}
