"use strict";
// Uploads with progress, and a list of jobs that stays up to date while one is under way.
(() => {
  const POLL_MS = 700;
  const part = () => document.getElementById("jobs");
  const parse = text => new DOMParser().parseFromString(text, "text/html");

  async function follow() {
    if (!("active" in part().dataset)) return;
    await new Promise(resolve => setTimeout(resolve, POLL_MS));
    try {
      const answer = await fetch(`jobs?kind=${part().dataset.kind}`);
      if (!answer.ok) return setTimeout(follow, 5 * POLL_MS);
      const fresh = document.importNode(parse(await answer.text()).getElementById("jobs"), true);
      const isOver = !("active" in fresh.dataset);
      if (fresh.outerHTML !== part().outerHTML) part().replaceWith(fresh);
      if (isOver) return renew();
    } catch { /* the server may be starting anew */ }
    follow();
  }

  // What a finished job has changed, in the place of what the page showed.
  async function renew() {
    const answer = await fetch(location.href);
    if (!answer.ok) return;
    const fresh = parse(await answer.text());
    document.getElementById("main").replaceWith(document.importNode(fresh.getElementById("main"), true));
    prepare();
  }

  function prepare() {
    const form = document.getElementById("upload");
    if (form) enhance(form);
    follow();
  }

  function enhance(form) {
    const files = form.querySelector("#files"), drop = form.querySelector(".drop"), told = form.querySelector("#told");
    const sent = form.querySelector("#sent"), button = form.querySelector("button");
    form.querySelector(".scripted").hidden = false;
    const name = () => { told.textContent = files.files.length > 1 ? `${files.files.length} files` : files.files.length ? files.files[0].name : ""; };
    files.addEventListener("change", name);
    for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, event => { event.preventDefault(); drop.classList.add("over"); });
    for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
    drop.addEventListener("drop", event => { event.preventDefault(); files.files = event.dataTransfer.files; name(); });
    form.addEventListener("submit", event => {
      event.preventDefault();
      const request = new XMLHttpRequest();
      request.upload.addEventListener("progress", progress => {
        if (!progress.lengthComputable) return;
        sent.value = progress.loaded / progress.total;
        told.textContent = sent.value < 1 ? `${Math.round(100 * sent.value)}% sent` : "Sent";
      });
      request.addEventListener("load", () => {
        if (request.status < 400) { form.reset(); return renew(); }
        const reason = parse(request.responseText).getElementById("failure");
        failed(reason ? reason.textContent : `The server answered ${request.status}.`);
      });
      request.addEventListener("error", () => failed("The connection broke off. Try again."));
      const failed = reason => { told.textContent = reason; told.className = "why-failed"; sent.hidden = true; button.disabled = false; };
      told.className = ""; sent.hidden = false; sent.value = 0; button.disabled = true;
      request.open("POST", form.action);
      request.send(new FormData(form));
    });
  }

  prepare();
})();
