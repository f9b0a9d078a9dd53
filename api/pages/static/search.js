"use strict";
// The weight's slider answers while it is moved; without this script its button does.
(() => {
  const PAUSE_MS = 120;
  let asked = null, waiting = 0;

  function prepare() {
    const slider = document.querySelector("input[name=weight]");
    if (!slider) return;
    document.getElementById("weigh").hidden = true;
    slider.addEventListener("input", () => {
      document.getElementById("share").textContent = Number(slider.value).toFixed(2);
      clearTimeout(waiting);
      waiting = setTimeout(() => weigh(slider.value), PAUSE_MS);
    });
  }

  async function weigh(value) {
    const address = new URL(location.href);
    address.searchParams.set("weight", value);
    address.searchParams.set("mode", "hybrid");
    asked?.abort();
    asked = new AbortController();
    try {
      const answer = await fetch(address, { signal: asked.signal });
      if (!answer.ok) return location.assign(address);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const id of ["found", "weighed"]) {
        document.getElementById(id).replaceChildren(...document.importNode(fresh.getElementById(id), true).childNodes);
      }
      history.replaceState(null, "", address);
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    }
  }

  prepare();
})();
