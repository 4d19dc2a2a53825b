/* Browsers refuse workers to pages that are opened from disk. There, run the search worker in a hidden frame instead. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      this.ready = new Promise((resolve) => { frame.onload = () => resolve(frame.contentWindow); });
      window.addEventListener("message", (event) => {
        if (event.source !== frame.contentWindow) return;
        const copy = new MessageEvent("message", { data: event.data });
        this.dispatchEvent(copy);
        if (this.onmessage) this.onmessage(copy);
      });
      const script = document.createElement("script");
      script.src = url;
      frame.srcdoc = "<!doctype html><script>postMessage = (data) => parent.postMessage(data, '*')<\/script>" + script.outerHTML;
      document.documentElement.appendChild(frame);
    }
    postMessage(data) {
      this.ready.then((inside) => inside.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {}
  };
}
