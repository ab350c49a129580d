// What a program for OpenAI does, unchanged but for OPENAI_BASE_URL and OPENAI_API_KEY. Prints what it heard.
import OpenAI from "openai";

const client = new OpenAI();
const model = "gpt-4o";
const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "The weather of a city",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

const chat = await client.chat.completions.create({ model, messages: [{ role: "user", content: "Good morning" }] });

let streamed = "";
const stream = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: "Good morning" }],
  stream: true,
});
for await (const chunk of stream) streamed += chunk.choices[0].delta.content ?? "";

const messages = [{ role: "user", content: "Please get weather of Chiang Mai" }];
const asked = await client.chat.completions.create({ model, messages, tools });
const call = asked.choices[0].message.tool_calls[0];
messages.push(asked.choices[0].message, { role: "tool", tool_call_id: call.id, content: "31 degrees" });
const answered = await client.chat.completions.create({ model, messages, tools });

const runner = client.chat.completions.stream({ model, messages: [messages[0]], tools });
const put = (await runner.finalChatCompletion()).choices[0].message.tool_calls[0];

const response = await client.responses.create({ model, input: "Good evening" });
let told = "";
for await (const event of await client.responses.create({ model, input: "Good evening", stream: true })) {
  if (event.type === "response.output_text.delta") told += event.delta;
}

const embedded = await client.embeddings.create({ model: "qwen/qwen3-embedding-8b", input: ["boat", "river"] });
const models = [];
for await (const one of client.models.list()) models.push(one.id);
const refused = await client.chat.completions.create({ model, messages: [] }).catch((error) => error);

console.log(
  JSON.stringify({
    chat: chat.choices[0].message.content,
    streamed,
    tool: call.function.name,
    arguments: JSON.parse(call.function.arguments),
    answered: answered.choices[0].message.content,
    streamedTool: put.function,
    response: response.output_text,
    told,
    dimensions: embedded.data.map((one) => one.embedding.length),
    models,
    refused: { status: refused.status, type: refused.type, param: refused.param },
  }),
);
