/**
 * Follows the live feed: connects, passes messages on in batches, and reconnects whenever messages may be missing.
 * Time, randomness, frames and the socket are injected, so that tests control them.
 */

import { reconnectDelay } from './backoff'
import { SILENCE_LIMIT_MS } from './connection_state'
import type { LiveMessage } from '@/shared/contract/contract'
import type { FeedOutcome } from './feed_state'

/** The part of a WebSocket that is used. */
export interface LiveSocket {
  close: () => void
}

export interface LiveWorld {
  openSocket: (onMessage: (data: unknown) => void, onClose: () => void) => LiveSocket
  now: () => number
  random: () => number
  /** Run before the next frame. */
  onFrame: (act: () => void) => void
  after: (milliseconds: number, act: () => void) => number
  cancel: (timer: number) => void
}

export type DropReason = FeedOutcome | 'silent' | 'closed' | 'unreadable'

export interface LiveListener {
  /** Apply messages; any result but `applied` makes the client reconnect. */
  take: (messages: LiveMessage[]) => FeedOutcome
  /** `following` is true from a connection's snapshot on. */
  changed: (following: boolean) => void
  /** The connection ended. `neverFollowed`: not even a snapshot came, which is also how a refused login looks. */
  dropped: (reason: DropReason, neverFollowed: boolean) => void
}

/** Frames stop in a hidden window, the server does not: a batch older than this is passed on without one. */
const OLDEST_BATCH_MS = 250
const WATCH_EVERY_MS = 1_000

export class LiveClient {
  lastMessageAt: number | null = null

  private socket: LiveSocket | null = null
  private following = false
  private failures = 0
  private heardAt = 0
  private batch: LiveMessage[] = []
  private batchSince = 0
  private frameAsked = false
  private timer: number | null = null
  private running = false

  constructor(
    private readonly world: LiveWorld,
    private readonly listener: LiveListener,
  ) {}

  start(): void {
    if (this.running) return
    this.running = true
    this.connect()
  }

  stop(): void {
    this.running = false
    this.cancelTimer()
    this.leaveSocket()
  }

  /** Check now whether the server is silent; timers are suspended with the machine, so call this at resume. */
  checkSilence(): void {
    if (this.socket && this.world.now() - this.heardAt > SILENCE_LIMIT_MS) this.drop('silent')
  }

  private connect(): void {
    this.heardAt = this.world.now()
    // A closed socket may still deliver messages; only the current one is read.
    const socket = this.world.openSocket(
      (data) => {
        if (socket === this.socket) this.hear(data)
      },
      () => {
        if (socket === this.socket) this.drop('closed')
      },
    )
    this.socket = socket
    this.watch()
  }

  private watch(): void {
    this.timer = this.world.after(WATCH_EVERY_MS, () => {
      this.checkSilence()
      if (this.socket) this.watch()
    })
  }

  private hear(data: unknown): void {
    const message = readMessage(data)
    if (!message) {
      this.drop('unreadable')
      return
    }
    const now = this.world.now()
    this.heardAt = now
    if (this.batch.length === 0) this.batchSince = now
    this.batch.push(message)
    const urgent = message.type === 'snapshot' || message.type === 'alarm' || message.type === 'system'
    if (urgent || now - this.batchSince >= OLDEST_BATCH_MS) this.handOn()
    else this.askFrame()
  }

  private askFrame(): void {
    if (this.frameAsked) return
    this.frameAsked = true
    this.world.onFrame(() => {
      this.frameAsked = false
      this.handOn()
    })
  }

  private handOn(): void {
    if (this.batch.length === 0) return
    const messages = this.batch
    this.batch = []
    const outcome = this.listener.take(messages)
    if (outcome !== 'applied') {
      this.drop(outcome)
      return
    }
    this.lastMessageAt = this.heardAt
    if (!this.following) {
      this.following = true
      this.failures = 0
      this.listener.changed(true)
    }
  }

  private drop(reason: DropReason): void {
    const neverFollowed = !this.following
    this.cancelTimer()
    this.leaveSocket()
    this.timer = this.world.after(reconnectDelay(this.failures, this.world.random()), () => {
      this.connect()
    })
    this.failures += 1
    this.listener.changed(false)
    this.listener.dropped(reason, neverFollowed)
  }

  private leaveSocket(): void {
    const socket = this.socket
    this.socket = null
    this.following = false
    this.batch = []
    socket?.close()
  }

  private cancelTimer(): void {
    if (this.timer !== null) this.world.cancel(this.timer)
    this.timer = null
  }
}

function readMessage(data: unknown): LiveMessage | null {
  if (typeof data !== 'string') return null
  try {
    const message: unknown = JSON.parse(data)
    return isMessage(message) ? message : null
  } catch {
    return null
  }
}

function isMessage(message: unknown): message is LiveMessage {
  return typeof message === 'object' && message !== null && 'type' in message && 'seq' in message
}
