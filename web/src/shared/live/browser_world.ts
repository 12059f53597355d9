/** The real socket, clock and frames for the live client. */

import { liveAddress } from '@/shared/api_client'
import type { LiveWorld } from './live_client'

export function browserWorld(): LiveWorld {
  return {
    openSocket: (onMessage, onClose) => {
      const socket = new WebSocket(liveAddress(window.location))
      socket.addEventListener('message', (event) => {
        onMessage(event.data)
      })
      socket.addEventListener('close', onClose)
      return socket
    },
    now: () => Date.now(),
    random: () => Math.random(),
    onFrame: (act) => {
      window.requestAnimationFrame(act)
    },
    after: (milliseconds, act) => window.setTimeout(act, milliseconds),
    cancel: (timer) => {
      window.clearTimeout(timer)
    },
  }
}
