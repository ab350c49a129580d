// The console's behaviour. Pages work without it; with it prices are live, results appear in place and files upload.
const csrf = document.body.dataset.csrf ?? "";
const all = (query, root = document) => [...root.querySelectorAll(query)];

class Refused extends Error {}  // in words for people, by the server

async function send(path, body, more = {}) {
  const answer = await fetch(path, { method: "POST", body, headers: { "X-Part": "1", "X-Csrf": csrf, ...more } });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw new Refused(told.message ?? `HTTP ${answer.status}`);
}

const plainly = (error) => (error instanceof Refused ? error.message : document.body.dataset.unreached);

function complain(form, error) {
  const place = form.querySelector("[data-error]");
  place.textContent = error ? plainly(error) : "";
  place.hidden = !error;
}

function filled(form) {
  const data = new URLSearchParams(new FormData(form));
  for (const group of all("[data-closed]", form))
    for (const field of all("[name]", group)) data.delete(field.name);
  return data;
}

// Price: asked again a moment after each change; only the newest answer counts.
function priced(form) {
  const place = form.querySelector("[data-price-text]");
  let timer, turn = 0;
  const ask = async () => {
    const mine = ++turn;
    const told = await send(form.dataset.price, filled(form)).then((a) => a.json()).catch((e) => ({ message: plainly(e) }));
    if (mine !== turn) return;
    const [cost, after] = place.children;
    cost.textContent = told.cost ?? "";
    after.textContent = [told.after ?? (form.checkValidity() ? told.message : ""), ...(told.warnings ?? [])].join(" ");
    place.classList.toggle("short", told.cost !== undefined && !told.ready);
  };
  const soon = () => { clearTimeout(timer); timer = setTimeout(ask, 350); };
  form.addEventListener("input", soon);
  form.addEventListener("change", soon);
  ask();
}

// Buying: one press at a time; the form's own key makes sure that it buys once.
function buying(form) {
  const button = form.querySelector("button.main"), words = button.textContent;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    complain(form);
    button.disabled = true;
    button.textContent = button.dataset.working;
    try {
      const answer = await send(form.action, filled(form));
      form.elements.once.value = answer.headers.get("X-Once");
      place(await answer.text());
      if (matchMedia("(max-width: 860px)").matches) document.getElementById("stage").scrollIntoView({ block: "start" });
    } catch (error) { complain(form, error); }
    button.disabled = false;
    button.textContent = words;
    form.dispatchEvent(new Event("change"));
  });
}

function place(html) {
  const stage = document.getElementById("stage");
  stage.innerHTML = html;
  enliven(stage);
}

// Progress: the job's events until its end, then the finished part from the server.
function follow(part) {
  const bar = part.querySelector("progress"), percent = part.querySelector("[data-percent]");
  const source = new EventSource(part.dataset.events);
  const finish = async () => {
    source.close();
    const answer = await fetch(part.dataset.part, { headers: { "X-Part": "1" } });
    if (part.isConnected && answer.ok) place(await answer.text());
    const state = document.querySelector("[data-state]");
    if (state) location.reload();
  };
  source.addEventListener("status", (event) => {
    const job = JSON.parse(event.data);
    if (!part.isConnected) return source.close();
    bar.value = job.progress;
    percent.textContent = `${Math.round(job.progress * 100)} %`;
    if (["completed", "failed", "cancelled"].includes(job.state)) finish();
  });
}

// Files: dropped or chosen, uploaded at once; their addresses go into the field.
function dropping(box) {
  const text = box.querySelector("textarea"), input = box.querySelector("input"), state = box.querySelector("[data-drop-state]");
  const most = Number(box.dataset.many);
  const take = async (files) => {
    state.textContent = box.dataset.working;
    try {
      for (const file of [...files].slice(0, most)) {
        const data = new FormData();
        data.append("file", file);
        const { url } = await (await send("/upload", data)).json();
        text.value = most > 1 && text.value.trim() ? `${text.value.trim()}\n${url}` : url;
      }
      state.textContent = "";
    } catch (error) { state.textContent = plainly(error); }
    input.value = "";
    text.dispatchEvent(new Event("input", { bubbles: true }));
  };
  input.addEventListener("change", () => take(input.files));
  for (const name of ["dragover", "dragleave", "drop"])
    box.addEventListener(name, (event) => {
      event.preventDefault();
      box.classList.toggle("over", name === "dragover");
      if (name === "drop") take(event.dataTransfer.files);
    });
}

// Waveforms: drawn once they come into view.
async function draw(canvas) {
  const raw = await (await fetch(canvas.dataset.wave)).arrayBuffer();
  const sound = (await new OfflineAudioContext(1, 1, 44100).decodeAudioData(raw)).getChannelData(0);
  const pen = canvas.getContext("2d"), bars = 128, width = canvas.width / bars, size = Math.floor(sound.length / bars);
  pen.fillStyle = getComputedStyle(canvas).color;
  for (let bar = 0; bar < bars; bar++) {
    let peak = 0;
    for (let at = bar * size; at < (bar + 1) * size; at += 16) peak = Math.max(peak, Math.abs(sound[at]));
    const height = Math.max(2, peak * canvas.height * 0.92);
    pen.fillRect(bar * width + 1, (canvas.height - height) / 2, width - 2, height);
  }
}
const watcher = new IntersectionObserver((seen) => {
  for (const { isIntersecting, target } of seen)
    if (isIntersecting) { watcher.unobserve(target); draw(target).catch(() => target.remove()); }
});

// Chat: the answer word by word; the talk lives as long as the tab, and is nobody else's who signs in there.
const talks = "phaya talk ", talkName = talks + csrf.slice(0, 24);
for (const name of Object.keys(sessionStorage)) if (name.startsWith(talks) && name !== talkName) sessionStorage.removeItem(name);

function chatting(form) {
  const talk = document.querySelector("[data-talk]"), empty = document.querySelector("[data-chat-empty]");
  const button = form.querySelector("button"), words = button.textContent;
  let turns = JSON.parse(sessionStorage.getItem(talkName) ?? "[]"), stop = null;
  const keep = () => { sessionStorage.setItem(talkName, JSON.stringify(turns)); empty.hidden = turns.length > 0; };
  const show = ({ role, content, told }) => {
    const box = document.createElement("div");
    box.className = `turn ${role === "user" ? "you" : "they"}`;
    box.append(content);
    if (told) box.append(note(told));
    talk.append(box);
    return box;
  };
  const grow = () => { form.say.style.height = "auto"; form.say.style.height = `${Math.min(form.say.scrollHeight + 2, 220)}px`; };
  const rates = () => {
    const chosen = form.querySelector("[data-chat-model]")?.selectedOptions[0];
    if (chosen) form.querySelector("[data-chat-rates]").textContent = chosen.dataset.rates;
  };
  turns.forEach(show);
  keep();
  form.model.addEventListener("change", rates);
  form.say.addEventListener("input", grow);
  document.querySelector("[data-chat-new]").addEventListener("click", () => {
    stop?.abort(); turns = []; talk.replaceChildren(); complain(form); keep(); form.say.focus();
  });
  form.say.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); if (!stop) form.requestSubmit(); }
    if (event.key === "Escape") stop?.abort();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (stop) return stop.abort();
    complain(form);
    const said = form.say.value.trim();
    if (!said) return;
    const talked = turns, mine = show({ role: "user", content: said }), box = show({ role: "assistant", content: "" });
    const text = box.appendChild(document.createTextNode("")), here = new AbortController();
    let credits, told, failed;
    box.classList.add("writing");
    empty.hidden = true;
    form.say.value = "";
    form.say.required = false;
    grow();
    stop = here;
    button.textContent = button.dataset.stop;
    box.scrollIntoView({ block: "end" });
    try {
      const messages = [...turns, { role: "user", content: said }].map(({ role, content }) => ({ role, content }));
      const answer = await fetch("/chat", {
        method: "POST", signal: here.signal, body: JSON.stringify({ model: form.model.value, messages, stream: true }),
        headers: { "Content-Type": "application/json", "X-Part": "1", "X-Csrf": csrf },
      });
      if (!answer.ok) throw new Refused((await answer.json().catch(() => ({}))).message);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = "", piece; !(piece = await reader.read()).done;) {
        const events = (rest + piece.value).split("\n\n");
        rest = events.pop();
        for (const one of events) {
          const data = one.split("\n").find((line) => line.startsWith("data: "))?.slice(6);
          if (!data || data === "[DONE]") continue;
          const part = JSON.parse(data);
          if (part.error) throw new Refused(talk.dataset.broken);
          text.data += part.choices?.[0]?.delta?.content ?? "";
          credits = part.credits_used ?? credits;
        }
        box.scrollIntoView({ block: "nearest" });
      }
    } catch (error) {
      if (error.name === "AbortError") told = talk.dataset.stopped;
      else failed = error;
    }
    box.classList.remove("writing");
    if (credits !== undefined) told = `${credits} ${talk.dataset.cost}`;
    if (failed && !text.data) {
      box.remove();
      mine.remove();
      form.say.value = said;
      complain(form, failed);
    } else if (turns === talked) {
      if (failed) told = talk.dataset.broken;
      if (told) box.append(note(told));
      turns = [...turns, { role: "user", content: said }];
      if (text.data) turns.push({ role: "assistant", content: text.data, told });
      keep();
    }
    empty.hidden = turns.length > 0;
    stop = null;
    form.say.required = true;
    button.textContent = words;
    box.scrollIntoView({ block: "nearest" });
    weigh();
    if (here.signal.aborted) setTimeout(weigh, 3000);  // settled once the model has told what it used
  });
}

async function weigh() {
  const answer = await fetch("/credits/balance", { headers: { "X-Part": "1" } }).catch(() => null);
  if (answer?.ok) document.getElementById("balance").textContent = (await answer.json()).balance;
}

function note(words) {
  const small = document.createElement("small");
  small.textContent = words;
  return small;
}

// Times: the server's are in UTC, people's in their own zone and words.
function clock(root) {
  const shown = new Intl.DateTimeFormat(document.documentElement.lang === "th" ? "th-TH" : "en-GB", { dateStyle: "medium", timeStyle: "short" });
  const exact = new Intl.DateTimeFormat(shown.resolvedOptions().locale, { dateStyle: "medium", timeStyle: "medium" });
  for (const one of all("time[datetime]", root)) {
    one.title = one.textContent;
    one.textContent = (one.closest(".line") ? exact : shown).format(new Date(one.dateTime));
  }
}

function enliven(root) {
  clock(root);
  for (const part of all("[data-events]", root)) follow(part);
  for (const part of all("[data-balance]", root)) document.getElementById("balance").textContent = part.dataset.balance;
  for (const canvas of all("[data-wave]", root)) watcher.observe(canvas);
}

for (const form of all("[data-price]")) priced(form);
for (const form of all("[data-create]")) buying(form);
for (const box of all("[data-drop]")) dropping(box);
for (const form of all("[data-chat]")) chatting(form);
for (const details of all(".group details"))
  details.addEventListener("toggle", () => {
    details.querySelector("[data-group-fields]").toggleAttribute("data-closed", !details.open);
    details.dispatchEvent(new Event("change", { bubbles: true }));
  });
for (const select of all("[data-submit]")) select.addEventListener("change", () => select.form.submit());
for (const field of all("[data-find]"))
  field.addEventListener("input", () => {
    for (const one of all("[data-name]")) one.hidden = !one.dataset.name.includes(field.value.trim().toLowerCase());
    for (const group of all("[data-group]")) group.hidden = !group.querySelector("[data-name]:not([hidden])");
    document.querySelector("[data-find-none]").hidden = !!document.querySelector("[data-name]:not([hidden])");
  });
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.sure && !confirm(button.dataset.sure)) event.preventDefault();
  if (button?.dataset.copy) {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = button.dataset.done;
  }
  for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
// A second press while the first is on its way would be answered in its place: a code is good once.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  if ("sent" in form.dataset) return event.preventDefault();
  form.dataset.sent = "";
  setTimeout(() => delete form.dataset.sent, 3000);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const menu of all("details.menu[open]")) { menu.open = false; menu.querySelector("summary").focus(); }
});
enliven(document);
document.querySelector(".side [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
