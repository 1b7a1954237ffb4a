// What Gradio does not say, or says otherwise than it reads, for those who hear the page.
(() => {
  const mend = () => {
    // A thumbnail goes by its caption, and the place for files by what stands there.
    for (const button of document.querySelectorAll("button.thumbnail-item, button.upload-container")) {
      const read = button.innerText.replace(/\s+/g, " ").trim();
      if (read && button.getAttribute("aria-label") !== read) button.setAttribute("aria-label", read);
    }
    // What has a name is something: Gradio's places for what there is not yet are nothing.
    for (const each of document.querySelectorAll("div[aria-label]:not([role])")) each.setAttribute("role", "group");
    // The line that tells how work goes is read aloud when it changes; what is around it stays, and is told to.
    for (const line of document.querySelectorAll(".gs-status")) {
      const around = line.closest(".block");
      if (around && !around.hasAttribute("aria-live")) {
        around.setAttribute("role", "status");
        around.setAttribute("aria-live", "polite");
      }
    }
  };
  let waiting = false;
  const later = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; mend(); });
  };
  new MutationObserver(later).observe(document.documentElement, { childList: true, subtree: true });
})();
