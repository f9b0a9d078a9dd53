"use strict";
// A conversation: answers are shown as they are made, their labels lead to the passages behind them.
(() => {
  const by = id => document.getElementById(id);
  const form = by("ask"), field = by("question"), talk = by("talk"), stop = by("stop"), button = form.querySelector(".go");
  const LABELS = /\[\d{1,6}(?:\s*[,;–-]\s*\d{1,6})*\]/g;
  const messages = [];
  let n = 0, asking = null;

  function element(name, text, kind) { const made = document.createElement(name); if (text) made.textContent = text; if (kind) made.className = kind; return made; }
  const passage = (citation, query) => `document?${new URLSearchParams({ id: citation.document_id, chunk: citation.chunk_id, q: query })}#passage`;

  form.querySelector(".scripted").hidden = false;
  field.addEventListener("keydown", event => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  stop.addEventListener("click", () => asking?.abort());
  form.addEventListener("submit", event => {
    event.preventDefault();
    if (!asking && field.value.trim()) ask(field.value.trim());
  });

  async function ask(question) {
    const turn = ++n, asked = element("li", "", "question"), item = element("li", "", "answer"), said = element("p", "", "said");
    asked.append(element("p", question));
    item.append(said);
    item.setAttribute("aria-busy", "true");
    talk.append(asked, item);
    by("intro").hidden = true;
    field.value = "";
    busy(true);
    item.scrollIntoView({ block: "nearest" });
    messages.push({ role: "user", content: question });
    let text = "", about = null;
    try {
      await stream(messages, event => {
        if (event.error) throw new Error(event.error.message);
        about ??= event.citations && event;
        text += event.choices?.[0]?.delta?.content ?? "";
        said.textContent = text;
      });
    } catch (error) {
      if (error.name !== "AbortError") item.append(element("p", error.message, "why-failed"));
    }
    if (text) messages.push({ role: "assistant", content: text }); else messages.pop();
    finish(item, said, text, about, turn);
    busy(false);
  }

  async function stream(said, take) {
    const answer = await fetch("v1/chat/completions", {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ messages: said, stream: true }), signal: asking.signal,
    });
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail ?? `The server answered ${answer.status}.`);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let held = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (held + value).split("\n");
      held = lines.pop();
      for (const line of lines) if (line.startsWith("data: ") && line !== "data: [DONE]") take(JSON.parse(line.slice(6)));
    }
  }

  function finish(item, said, text, about, turn) {
    item.removeAttribute("aria-busy");
    if (!about) return;
    const known = new Map(about.citations.map(citation => [citation.label, citation]));
    const parts = [];
    let done = 0;
    for (const brackets of text.matchAll(LABELS)) {
      for (const number of brackets[0].matchAll(/\d+/g)) {
        if (!known.has(Number(number[0]))) continue;
        const at = brackets.index + number.index, link = element("a", number[0], "label");
        link.href = passage(known.get(Number(number[0])), about.query);
        link.title = known.get(Number(number[0])).title;
        parts.push(text.slice(done, at), link);
        done = at + number[0].length;
      }
    }
    said.replaceChildren(...parts, text.slice(done));
    for (const note of about.notes) item.append(element("p", note, "note"));
    for (const flag of about.flags) item.append(element("p", `Passage ${flag.label} looks as if it wanted to instruct the model: “${flag.found}”`, "note warn"));
    if (!known.size) return;
    const more = element("details"), list = element("ol", "", "citations");
    more.append(element("summary", `${known.size} passage${known.size === 1 ? "" : "s"} the model was given`), list);
    for (const citation of known.values()) {
      const line = element("li"), link = element("a", citation.title || citation.document_id);
      line.value = citation.label; line.id = `citation-${turn}-${citation.label}`;
      link.href = passage(citation, about.query);
      line.append(link, " ", element("small", citation.place), " ", element("span", citation.text.length > 200 ? `${citation.text.slice(0, 200)} …` : citation.text));
      list.append(line);
    }
    item.append(more);
  }

  function busy(is) {
    asking = is ? new AbortController() : null;
    stop.hidden = !is; button.disabled = is;
    if (!is) field.focus();
  }
})();
