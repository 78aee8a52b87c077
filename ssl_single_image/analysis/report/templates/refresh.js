// Asks the server for the number of its newest page, and loads it when that is another one.
function keepFresh(pause) {
  let known = null;
  async function ask() {
    try {
      const answer = await fetch("version", { cache: "no-store" });
      const version = answer.ok ? await answer.text() : known;
      if (known !== null && version !== known) { location.reload(); return; }
      known = version;
    } catch (error) { /* the server has ended; the page stays as it is */ }
    setTimeout(ask, pause);
  }
  ask();
}
