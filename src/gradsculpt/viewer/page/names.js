// Buttons that Gradio calls otherwise than they read are called as they read: a thumbnail by its caption.
(() => {
  const rename = () => {
    for (const button of document.querySelectorAll("button.thumbnail-item, button.upload-container")) {
      const read = button.innerText.replace(/\s+/g, " ").trim();
      if (read && button.getAttribute("aria-label") !== read) button.setAttribute("aria-label", read);
    }
  };
  let waiting = false;
  const later = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; rename(); });
  };
  new MutationObserver(later).observe(document.documentElement, { childList: true, subtree: true });
})();
