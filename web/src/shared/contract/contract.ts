/**
 * The gateway's JSON, as `gateway/api/http/bodies.py` defines it: field by field, in its order, and nothing else.
 * Times are RFC 3339 UTC texts.
 */

import type { LiveApproval } from './approvals'
import type { LastMessageBody } from './equipment'
import type { LiveFlood } from './floods'
import type { LiveMaintenance, OutageBody, SuppressionBody, WindowBody } from './suppression'

export type Value = number | boolean | string
export type Time = string

export interface Texts {
  en: string
  'zh-CN': string
}

export interface Page<Item> {
  items: Item[]
  next: string | null
}

/** RFC 9457; `detail` and `type` are left out when they say nothing. */
export interface Problem {
  title: string
  status: number
  code: string
  detail?: string
  type?: string
}

export interface SiteBody {
  code: string
  name: Texts
  time_zone: string
  version: number
}

export interface FieldValue {
  value: Value
  at: Time
}

export type FieldType = 'number' | 'boolean' | 'text'

export interface FieldBody {
  name: string
  label: Texts
  type: FieldType
  unit: string
  /** Lowest and highest value that can be true, ends included; null where every value can. */
  plausible: [number, number] | null
  /** Values between them that mean "no value". */
  sentinels: number[]
}

/** Kinds may grow with the gateway: a page that is older than its server must still show them. */
export type Kind = 'elevator' | 'pump' | 'fire_panel' | 'patrol_reader' | 'sensor' | (string & {})

export interface ProfileBody {
  kind: Kind
  name: Texts
  fields: FieldBody[]
}

export type ClockDoubt = '' | 'ahead' | 'behind' | 'never_set'

export interface EquipmentBody {
  /** `{site}:{code}` */
  id: string
  site: string
  code: string
  kind: Kind
  name: Texts
  place: Texts
  adopted: boolean
  version: number
  /** null until the equipment has said so. */
  online: boolean | null
  last_seen: Time | null
  /** What is wrong with its clock; '' while nothing is. */
  clock: ClockDoubt
  latest: Record<string, FieldValue>
  /** What of it is out of service; a part "" is all of it. */
  out_of_service: OutageBody[]
  /** Of equipment that is not in use and still sends, for those who may adopt it. */
  last_message: LastMessageBody | null
  retired_at: Time | null
  replaced_by: string | null
  replaces: string | null
  former_codes: string[]
  former_kinds: Kind[]
  /** Id of the equipment of another kind whose code it sends. */
  shares_code_with: string | null
}

/** Least, mean and greatest of the bucket that starts at `at`, and how many samples it holds. */
export interface Bucket {
  at: Time
  min: number
  mean: number
  max: number
  count: number
}

/** Text and booleans: the value that holds from `at` on. */
export interface Change {
  at: Time
  value: Value
}

export interface HistoryBody {
  id: string
  field: string
  unit: string
  start: Time
  end: Time
  /** Each bucket is one sample. */
  raw: boolean
  /** Exactly one of `buckets` and `changes` is filled. */
  buckets: Bucket[]
  changes: Change[]
  /** There were more changes than requested: these are the newest, and none is missing between them. */
  older_left_out: boolean
}

export type Priority = 'critical' | 'high' | 'medium' | 'low'

export type AlarmState =
  | 'normal'
  | 'unacknowledged'
  | 'acknowledged'
  | 'returned_unacknowledged'
  | 'latched_unacknowledged'
  | 'latched_acknowledged'

export interface AlarmBody {
  id: string
  site: string
  /** The equipment's id. */
  equipment: string
  kind: Kind
  part: string
  /** Where in the building, as a fire panel names it. */
  zone: string
  rule: string
  title: Texts
  advice: Texts
  priority: Priority
  life_safety: boolean
  state: AlarmState
  active: boolean
  raised_at: Time
  received_at: Time
  returned_at: Time | null
  acknowledged_at: Time | null
  acknowledged_by: Texts | null
  closed_at: Time | null
  /** When somebody stopped its sound at every console; null while it may sound. */
  silenced_at: Time | null
  silenced_by: Texts | null
  re_alarm_at: Time | null
  activations: number
  field: string
  value: Value | null
  unit: string
  drill: boolean
  /** It comes and goes so fast that it is damped. */
  chattering: boolean
  /** Number of the newest ticket of this alarm; it may be over. */
  ticket: string | null
  /** Whether it sounds and waits for people; false while one of `suppressions` applies. */
  annunciated: boolean
  suppressions: SuppressionBody[]
  version: number
}

export interface JournalEntry {
  at: Time
  event: string
  before: string
  after: string
  actor: Texts
  note: string
}

export interface AlarmDetail {
  alarm: AlarmBody
  journal: JournalEntry[]
}

/** `version` is the one on the screen: if the alarm has changed since, the answer is 409. */
export interface AlarmAct {
  version: number
  note?: string
}

export type TicketType = 'repair' | 'emergency'

export interface TicketBody {
  number: string
  type: TicketType
  site: string
  equipment: string
  title: Texts
  priority: Priority
  state: string
  opened_at: Time
  alarm: string | null
  /** Ids of all its alarms, by zone and time. */
  alarms: string[]
  playbook: string
  drill: boolean
  version: number
}

export interface TicketAct {
  version: number
  note?: string
}

export interface TicketDetail {
  ticket: TicketBody
  alarms: AlarmBody[]
  journal: JournalEntry[]
}

/** `clock` is "data" where the service's now is the newest time in replayed data. */
export interface HealthBody { status: string; clock: 'wall' | 'data' }

export interface ReadyBody {
  ready: boolean
  components: Record<string, string>
}

export interface Snapshot {
  type: 'snapshot'
  seq: number
  at: Time
  sites: SiteBody[]
  profiles: ProfileBody[]
  equipment: EquipmentBody[]
  alarms: AlarmBody[]
  tickets: TicketBody[]
  maintenance: WindowBody[]
}

export interface LiveReading {
  type: 'reading'
  seq: number
  equipment: string
  online: boolean | null
  last_seen: Time | null
  clock: ClockDoubt
  /** Only the fields that came since the last one. */
  latest: Record<string, FieldValue>
}

export interface LiveEquipment {
  type: 'equipment'
  seq: number
  equipment: EquipmentBody
}

export interface LiveAlarm {
  type: 'alarm'
  seq: number
  alarm: AlarmBody
}

export interface LiveTicket {
  type: 'ticket'
  seq: number
  ticket: TicketBody
}

export interface LiveSystem {
  type: 'system'
  seq: number
  ready: boolean
  /** Each component to "ready" or to what it is waiting for. */
  components: Record<string, string>
}

export interface Beat {
  type: 'beat'
  seq: number
  at: Time
}

export type LiveChange =
  LiveReading | LiveEquipment | LiveAlarm | LiveTicket | LiveFlood | LiveMaintenance | LiveSystem | LiveApproval | Beat
export type LiveMessage = Snapshot | LiveChange
