// The search of the theme runs in a web worker, which browsers refuse to pages that are
// opened from disk. There an empty frame takes its place.
if (location.protocol === 'file:') {
  const load = (document, source) => new Promise((resolve, reject) => {
    const script = document.createElement('script')
    script.src = source
    script.onload = resolve
    script.onerror = reject
    document.body.append(script)
  })

  window.Worker = class extends EventTarget {
    constructor(address) {
      super()
      const frame = document.createElement('iframe')
      frame.hidden = true
      frame.srcdoc = '<!doctype html><body></body>'
      this.ready = new Promise(resolve => {
        frame.onload = () => resolve(this.start(frame.contentWindow, new URL(address, location)))
      })
      document.body.append(frame)
    }

    async start(inner, address) {
      inner.postMessage = data => {
        const event = new MessageEvent('message', { data })
        this.dispatchEvent(event)
        this.onmessage?.(event)
      }
      inner.importScripts = async (...sources) => {
        for (const source of sources) await load(inner.document, new URL(source, address))
      }
      await load(inner.document, address)
      return inner
    }

    async postMessage(data) {
      const inner = await this.ready
      inner.dispatchEvent(new MessageEvent('message', { data }))
    }

    terminate() {}
  }
}
