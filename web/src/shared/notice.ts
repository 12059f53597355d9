/** Short notes over the page: what was done goes by itself, what was refused stays until it can be read. */

import { ElNotification } from 'element-plus'

const SHORT_MS = 3_000
const LONG_MS = 12_000
/** Below, out of the way of the header and its banners, and above the section buttons of a phone. */
const PLACE = { position: 'bottom-right', offset: 70 } as const

export function noteDone(message: string): void {
  ElNotification({ ...PLACE, type: 'success', message, duration: SHORT_MS })
}

export function noteRefused(type: 'warning' | 'error', title: string, message: string): void {
  ElNotification({ ...PLACE, type, title, message, duration: LONG_MS })
}
