import { beforeEach, describe, expect, it } from 'vitest'

import type { LiveMessage } from '@/shared/contract/contract'
import { applyMessages, EMPTY_FEED } from '@/shared/live/feed_state'
import { type DropReason, LiveClient, type LiveWorld } from '@/shared/live/live_client'

import { aBeat, anAlarmMessage, anEquipment, aReading, aSnapshot, NOW } from './builders'

/**
 * A fake socket: what is tested is how the client takes silence, gaps and broken messages, and a real server
 * cannot be told to misbehave to the millisecond. That the client and a real gateway understand each other is
 * for the tests in a browser.
 */
class FakeSocket {
  closed = false

  constructor(
    readonly onMessage: (data: unknown) => void,
    readonly onClose: () => void,
  ) {}

  close(): void {
    this.closed = true
    this.onClose()
  }

  say(message: LiveMessage): void {
    this.onMessage(JSON.stringify(message))
  }
}

/** A world whose time passes when the test says so. */
class FakeWorld implements LiveWorld {
  time = NOW
  sockets: FakeSocket[] = []
  frames: (() => void)[] = []
  private timers = new Map<number, { at: number; act: () => void }>()
  private lastTimer = 0

  openSocket = (onMessage: (data: unknown) => void, onClose: () => void): FakeSocket => {
    const socket = new FakeSocket(onMessage, onClose)
    this.sockets.push(socket)
    return socket
  }

  now = (): number => this.time
  random = (): number => 0.5
  onFrame = (act: () => void): void => void this.frames.push(act)
  after = (milliseconds: number, act: () => void): number => {
    this.timers.set(++this.lastTimer, { at: this.time + milliseconds, act })
    return this.lastTimer
  }

  cancel = (timer: number): void => void this.timers.delete(timer)

  get socket(): FakeSocket {
    const last = this.sockets.at(-1)
    if (!last) throw new Error('no socket was opened')
    return last
  }

  pass(milliseconds: number): void {
    const end = this.time + milliseconds
    for (;;) {
      const due = [...this.timers].filter(([, timer]) => timer.at <= end).sort((a, b) => a[1].at - b[1].at)[0]
      if (!due) break
      this.timers.delete(due[0])
      this.time = due[1].at
      due[1].act()
    }
    this.time = end
  }

  draw(): void {
    for (const act of this.frames.splice(0)) act()
  }
}

let world: FakeWorld
let client: LiveClient
let feed = EMPTY_FEED
let batches: number[] = []
let drops: [DropReason, boolean][] = []
let following: boolean[] = []

beforeEach(() => {
  world = new FakeWorld()
  feed = EMPTY_FEED
  batches = []
  drops = []
  following = []
  client = new LiveClient(world, {
    take: (messages) => {
      batches.push(messages.length)
      const { state, outcome } = applyMessages(feed, messages, world.time)
      feed = state
      return outcome
    },
    changed: (now) => void following.push(now),
    dropped: (reason, neverFollowed) => void drops.push([reason, neverFollowed]),
  })
  client.start()
})

describe('a connection', () => {
  it('is followed from its snapshot on', () => {
    expect(following).toEqual([])
    world.socket.say(aSnapshot())
    expect(following).toEqual([true])
    expect(client.lastMessageAt).toBe(NOW)
  })

  it('lives as long as the server speaks', () => {
    world.socket.say(aSnapshot())
    for (let seq = 11; seq < 40; seq++) {
      world.pass(1_000)
      world.socket.say(aBeat(seq))
      world.draw()
    }
    expect(drops).toEqual([])
    expect(client.lastMessageAt).toBe(world.time)
  })

  it('is given up after five seconds of silence and made anew', () => {
    world.socket.say(aSnapshot())
    world.pass(5_000)
    expect(drops).toEqual([])
    world.pass(1_000)
    expect(drops).toEqual([['silent', false]])
    expect(world.sockets[0]?.closed).toBe(true)
    expect(following).toEqual([true, false])
    world.pass(1_000)
    world.socket.say(aSnapshot({ seq: 200 }))
    expect(following).toEqual([true, false, true])
    expect(feed.seq).toBe(200)
  })

  it('is given up on waking when the machine slept, without waiting for a timer', () => {
    world.socket.say(aSnapshot())
    world.time += 60_000
    client.checkSilence()
    expect(drops).toEqual([['silent', false]])
  })

  it('is made anew after a gap, and the old one is no longer listened to', () => {
    const old = world.socket
    old.say(aSnapshot())
    old.say(anAlarmMessage(12))
    expect(drops).toEqual([['gap', false]])
    old.onMessage(JSON.stringify(aSnapshot({ seq: 99 })))
    expect(feed.seq).toBe(10)
    world.pass(1_000)
    expect(world.sockets.length).toBe(2)
  })

  it.each([
    ['half a message', '{"type":"alarm","se'],
    ['something that is no message', '42'],
    ['bytes', new ArrayBuffer(4)],
  ])('is made anew after %s', (_case, data) => {
    world.socket.say(aSnapshot())
    world.socket.onMessage(data)
    expect(drops).toEqual([['unreadable', false]])
  })

  it('that never got a snapshot is reported as such: the login may have ended', () => {
    world.socket.close()
    expect(drops).toEqual([['closed', true]])
  })

  it('is not made anew once the page is left', () => {
    world.socket.say(aSnapshot())
    client.stop()
    world.pass(60_000)
    expect(world.sockets.length).toBe(1)
    expect(drops).toEqual([])
  })
})

describe('waiting between attempts', () => {
  it('grows while attempts fail and starts over after a snapshot', () => {
    const waits: number[] = []
    for (let attempt = 0; attempt < 6; attempt++) {
      const count = world.sockets.length
      world.socket.close()
      const from = world.time
      while (world.sockets.length === count) world.pass(50)
      waits.push(world.time - from)
    }
    expect(waits).toEqual([750, 1_250, 2_250, 4_250, 5_250, 5_250])
    world.socket.say(aSnapshot())
    const count = world.sockets.length
    world.socket.close()
    world.pass(750)
    expect(world.sockets.length).toBe(count + 1)
  })
})

describe('batches', () => {
  it('gather readings until the next picture', () => {
    world.socket.say(aSnapshot({ equipment: [anEquipment()] }))
    for (let seq = 11; seq < 111; seq++) world.socket.say(aReading(seq, {}))
    world.draw()
    expect(batches).toEqual([1, 100])
  })

  it('never hold an alarm back, nor what came before it', () => {
    world.socket.say(aSnapshot())
    world.socket.say(aBeat(11))
    world.socket.say(anAlarmMessage(12))
    expect(batches).toEqual([1, 2])
    expect(feed.alarms.size).toBe(1)
  })

  it('go on in a hidden window, where no pictures are drawn', () => {
    world.socket.say(aSnapshot())
    world.socket.say(aBeat(11))
    world.pass(1_000)
    world.socket.say(aBeat(12))
    expect(feed.seq).toBe(12)
  })
})
