
(() => {
  "use strict";
  const lost = document.getElementById("lost");
  let failures = 0, waiting = null;

  const keyed = (root, selector) => new Map(
    [...root.querySelectorAll(selector)].map((node, index) => [node.id || index, node]));

  function show(fresh) {
    const old = document.querySelector("main"), main = fresh.querySelector("main");
    const opened = keyed(main, "details");
    for (const [key, node] of keyed(old, "details")) {
      if (opened.has(key)) opened.get(key).open = node.open;
    }
    const [x, y] = [scrollX, scrollY];
    const aside = [...keyed(old, ".wide, pre")].map(([key, node]) => [key, node.scrollLeft, node.scrollTop]);
    const focused = document.activeElement && document.activeElement.closest("main [id]");
    old.replaceWith(document.adoptNode(main));
    const boxes = keyed(main, ".wide, pre");
    for (const [key, left, top] of aside) {
      if (boxes.has(key)) boxes.get(key).scrollTo(left, top);
    }
    scrollTo(x, y);
    if (focused) {
      const again = document.getElementById(focused.id);
      const target = again && (again.querySelector("summary") || again);
      if (target) target.focus({ preventScroll: true });
    }
    document.title = fresh.title;
    document.querySelector("link[rel=icon]").href = fresh.querySelector("link[rel=icon]").href;
  }

  function say(text) {
    lost.hidden = !text;
    if (lost.textContent !== text) lost.textContent = text;
  }

  async function look() {
    const now = () => document.querySelector("main");
    try {
      const answer = await fetch(location.href, {
        headers: { Accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error(answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = fresh.querySelector("main[data-began]");
      if (!main) throw new Error("not an account");
      if (main.dataset.began !== now().dataset.began) {
        say("This life is over, and another one has begun at this address. This page keeps the last that was seen; reload it to see the new one.");
        return;
      }
      failures = 0;
      say("");
      // Keep the selection. What came meanwhile is shown when there is none.
      waiting = fresh;
    } catch {
      failures += 1;
    }
    if (waiting && (getSelection().isCollapsed || failures > 1)) {
      show(waiting);
      waiting = null;
    }
    if ("exit" in now().dataset && failures) {
      say("graceinit has gone. This is its account as it was last seen.");
      return;
    }
    if (failures > 1) {
      say("graceinit does not answer: it has gone, or the way to it is closed. This is the last state that was seen.");
    }
    setTimeout(look, failures ? 1000 : Number(now().dataset.every) || 2000);
  }

  setTimeout(look, Number(document.querySelector("main").dataset.every) || 2000);
})();
