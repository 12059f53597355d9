/**
 * The state built from the live feed's messages, and how each message changes it. Pure: no socket, no clock.
 *
 * A state is never changed in place. Of a batch, each map is copied at most once, so that hundreds of equipments
 * reporting each second cost one copy per frame, not one per message.
 */

import type { ApprovalBody } from '@/shared/contract/approvals'
import type {
  AlarmBody,
  EquipmentBody,
  LiveChange,
  LiveMessage,
  LiveReading,
  LiveSystem,
  ProfileBody,
  SiteBody,
  Snapshot,
  TicketBody,
} from '@/shared/contract/contract'
import type { FloodBody, LiveFlood } from '@/shared/contract/floods'
import type { WindowBody } from '@/shared/contract/suppression'

/** An alarm that has left the open list; `seen` is false if it ended while the page was disconnected. */
export interface ClosedAlarm {
  alarm: AlarmBody
  closedAt: number
  seen: boolean
}

export interface FeedState {
  /** Number of the last message; null before the first snapshot. */
  seq: number | null
  /** The server's clock minus ours, in milliseconds: ages must be correct on a machine whose clock is wrong. */
  clockOffset: number
  sites: readonly SiteBody[]
  profiles: ReadonlyMap<string, ProfileBody>
  equipment: ReadonlyMap<string, EquipmentBody>
  alarms: ReadonlyMap<string, AlarmBody>
  justClosed: ReadonlyMap<string, ClosedAlarm>
  tickets: ReadonlyMap<string, TicketBody>
  /** Requests that wait for approval, as far as they concern this person. */
  approvals: ReadonlyMap<string, ApprovalBody>
  /** Sites with an alarm flood, and how its alarms are folded. */
  floods: ReadonlyMap<string, FloodBody>
  /** Planned work that is on or to come, by its id. */
  maintenance: ReadonlyMap<string, WindowBody>
  /** Components of the platform that are not ready or have a notice, with the text. */
  notReady: ReadonlyMap<string, string>
}

/**
 * `gap`: a message is missing or was repeated; `no_snapshot`: a change arrived before any snapshot.
 * After either, the state may be incomplete: the client must load a new snapshot.
 */
export type FeedOutcome = 'applied' | 'gap' | 'no_snapshot'

export const JUST_CLOSED_MS = 10 * 60_000

const GONE_TICKET_STATES: ReadonlySet<string> = new Set(['closed', 'cancelled', 'stood_down', 'reviewed'])

export const EMPTY_FEED: FeedState = {
  seq: null,
  clockOffset: 0,
  sites: [],
  profiles: new Map(),
  equipment: new Map(),
  alarms: new Map(),
  justClosed: new Map(),
  tickets: new Map(),
  approvals: new Map(),
  floods: new Map(),
  maintenance: new Map(),
  notReady: new Map(),
}

/** Apply messages in order and stop at the first that does not fit. `now` is this machine's clock, epoch milliseconds. */
export function applyMessages(
  state: FeedState,
  messages: readonly LiveMessage[],
  now: number,
): { state: FeedState; outcome: FeedOutcome } {
  const draft = new Draft(state)
  for (const message of messages) {
    const outcome = draft.apply(message, now)
    if (outcome !== 'applied') return { state: draft.state, outcome }
  }
  return { state: draft.state, outcome: 'applied' }
}

/** Apply an alarm from the answer to a request, outside the feed; the same version check applies. */
export function applyAlarm(state: FeedState, alarm: AlarmBody, now: number): FeedState {
  const draft = new Draft(state)
  draft.putAlarm(alarm, now)
  return draft.state
}

/** Apply a decision from the answer to a request, outside the feed. */
export function applyApproval(state: FeedState, approval: ApprovalBody): FeedState {
  const draft = new Draft(state)
  draft.putApproval(approval)
  return draft.state
}

/** Remove alarms that closed longer ago than `JUST_CLOSED_MS`; the same state if there are none. */
export function forgetOldClosed(state: FeedState, now: number): FeedState {
  const due = [...state.justClosed].filter(([, closed]) => now + state.clockOffset - closed.closedAt >= JUST_CLOSED_MS)
  if (due.length === 0) return state
  const justClosed = new Map(state.justClosed)
  for (const [id] of due) justClosed.delete(id)
  return { ...state, justClosed }
}

type MapName = 'equipment' | 'alarms' | 'justClosed' | 'tickets' | 'approvals' | 'floods' | 'maintenance'
type Entry<Name extends MapName> = FeedState[Name] extends ReadonlyMap<string, infer Value> ? Value : never

class Draft {
  state: FeedState
  private readonly copied = new Set<MapName>()

  constructor(state: FeedState) {
    this.state = state
  }

  apply(message: LiveMessage, now: number): FeedOutcome {
    if (message.type === 'snapshot') {
      this.takeSnapshot(message, now)
      return 'applied'
    }
    if (this.state.seq === null) return 'no_snapshot'
    if (message.seq !== this.state.seq + 1) return 'gap'
    this.state = { ...this.state, seq: message.seq }
    this.put(message, now)
    return 'applied'
  }

  private put(message: LiveChange, now: number): void {
    switch (message.type) {
      case 'reading':
        this.putReading(message)
        break
      case 'equipment':
        this.putEquipment(message.equipment)
        break
      case 'alarm':
        this.putAlarm(message.alarm, now)
        break
      case 'ticket':
        this.putTicket(message.ticket)
        break
      case 'approval':
        this.putApproval(message.approval)
        break
      case 'flood':
        this.putFlood(message)
        break
      case 'maintenance':
        this.putWindow(message.window)
        break
      case 'system':
        this.state = { ...this.state, notReady: notReadyComponents(message) }
        break
      case 'beat':
        this.state = { ...this.state, clockOffset: Date.parse(message.at) - now }
        break
      default:
      // A newer server may send unknown message types: the number counts, the content is ignored.
    }
  }

  putAlarm(alarm: AlarmBody, now: number): void {
    const known = this.state.alarms.get(alarm.id) ?? this.state.justClosed.get(alarm.id)?.alarm
    if (known && alarm.version < known.version) return
    if (alarm.state === 'normal') {
      this.map('alarms').delete(alarm.id)
      this.map('justClosed').set(alarm.id, { alarm, closedAt: closingTime(alarm, now + this.state.clockOffset), seen: true })
    } else {
      this.map('alarms').set(alarm.id, alarm)
      if (this.state.justClosed.has(alarm.id)) this.map('justClosed').delete(alarm.id)
    }
  }

  private takeSnapshot(snapshot: Snapshot, now: number): void {
    const at = Date.parse(snapshot.at)
    const alarms = byKey(snapshot.alarms, (alarm) => alarm.id)
    const justClosed = new Map([...this.state.justClosed].filter(([id]) => !alarms.has(id)))
    // An alarm that was on the screen must not vanish without notice because it ended while disconnected.
    for (const alarm of this.state.alarms.values()) {
      if (!alarms.has(alarm.id)) justClosed.set(alarm.id, { alarm, closedAt: at, seen: false })
    }
    this.copied.clear()
    this.state = {
      seq: snapshot.seq,
      clockOffset: at - now,
      sites: snapshot.sites,
      profiles: byKey(snapshot.profiles, (profile) => profile.kind),
      equipment: byKey(snapshot.equipment, (equipment) => equipment.id),
      alarms,
      justClosed,
      tickets: byKey(
        snapshot.tickets.filter((ticket) => !GONE_TICKET_STATES.has(ticket.state)),
        (ticket) => ticket.number,
      ),
      // The server sends each pending request right after the snapshot.
      approvals: new Map(),
      // An older server does not send it.
      maintenance: byKey((snapshot as Partial<Snapshot>).maintenance ?? [], (window) => window.id),
      // The server sends floods and the components right after each snapshot. Until then nothing is folded, and the last state applies.
      floods: new Map(),
      notReady: this.state.notReady,
    }
  }

  private putReading(reading: LiveReading): void {
    const known = this.state.equipment.get(reading.equipment)
    // The equipment's own message always comes before its first reading; without it there is no tile to fill.
    if (!known) return
    // Messages arrive in order, and the server decides which value is current: comparing times here would
    // refuse every value for an hour when a clock is set back by one.
    const latest = { ...known.latest, ...reading.latest }
    this.map('equipment').set(known.id, { ...known, online: reading.online, last_seen: reading.last_seen, clock: reading.clock, latest })
  }

  private putEquipment(equipment: EquipmentBody): void {
    const known = this.state.equipment.get(equipment.id)
    if (known && equipment.version < known.version) return
    const map = this.map('equipment')
    for (const code of equipment.former_codes) map.delete(`${equipment.site}:${code}`)
    map.set(equipment.id, equipment)
  }

  private putTicket(ticket: TicketBody): void {
    const known = this.state.tickets.get(ticket.number)
    if (known && ticket.version < known.version) return
    if (GONE_TICKET_STATES.has(ticket.state)) this.map('tickets').delete(ticket.number)
    else this.map('tickets').set(ticket.number, ticket)
  }

  putApproval(approval: ApprovalBody): void {
    const known = this.state.approvals.get(approval.id)
    if (known && approval.version < known.version) return
    if (approval.state === 'waiting') this.map('approvals').set(approval.id, approval)
    else this.map('approvals').delete(approval.id)
  }

  private putFlood({ site, flood }: LiveFlood): void {
    if (flood === null) this.map('floods').delete(site)
    else this.map('floods').set(site, flood)
  }

  private putWindow(window: WindowBody): void {
    const known = this.state.maintenance.get(window.id)
    if (known && window.version < known.version) return
    if (window.phase === 'over' || window.phase === 'cancelled') this.map('maintenance').delete(window.id)
    else this.map('maintenance').set(window.id, window)
  }

  private map<Name extends MapName>(name: Name): Map<string, Entry<Name>> {
    if (!this.copied.has(name)) {
      this.copied.add(name)
      this.state = { ...this.state, [name]: new Map(this.state[name] as ReadonlyMap<string, unknown>) }
    }
    return this.state[name] as unknown as Map<string, Entry<Name>>
  }
}

function byKey<Item>(items: readonly Item[], key: (item: Item) => string): Map<string, Item> {
  return new Map(items.map((item) => [key(item), item]))
}

function notReadyComponents(system: LiveSystem): Map<string, string> {
  // "standing by": another process is the leader, and this one is the standby.
  return new Map(Object.entries(system.components).filter(([, word]) => word !== 'ready' && word !== 'standing by'))
}

function closingTime(alarm: AlarmBody, serverNow: number): number {
  return alarm.closed_at === null ? serverNow : Date.parse(alarm.closed_at)
}
