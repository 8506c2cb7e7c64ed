// Browsers start no worker from a page on disk, so the search runs in a hidden frame there.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.body.appendChild(document.createElement("iframe"))
      frame.hidden = true
      this.frame = frame.contentWindow
      const inside = this.frame.document
      inside.open()
      inside.write("<body></body>")
      inside.close()
      const load = name => new Promise(done => {
        const script = inside.createElement("script")
        script.src = new URL(name, document.baseURI)
        script.onload = done
        inside.body.appendChild(script)
      })
      this.frame.importScripts = (...names) =>
        names.reduce((before, name) => before.then(() => load(name)), Promise.resolve())
      this.frame.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      this.loaded = load(url)
    }

    postMessage(data) {
      this.loaded.then(() => this.frame.dispatchEvent(new MessageEvent("message", { data })))
    }
  }
}
