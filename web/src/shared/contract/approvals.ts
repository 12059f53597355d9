/** The gateway's JSON about what waits for a second person, as `gateway/api/people/approval_bodies.py` defines it. */

import type { Texts, Time } from './contract'

export interface ApprovalChange {
  act: string
  thing: string
  before: Record<string, unknown> | null
  after: Record<string, unknown> | null
}

export type ApprovalState = 'waiting' | 'approved' | 'refused' | 'expired' | 'failed' | 'withdrawn'

/** A request that needs two people, and what became of it. */
export interface ApprovalBody {
  id: string
  site: string
  act: string
  method: string
  route: string
  path: Record<string, string>
  query: Record<string, string>
  body: unknown
  changes: ApprovalChange[]
  thing: string
  reason: string
  requested_by: string
  requester: Texts
  at: Time
  expires_at: Time
  state: ApprovalState
  decided_by: string | null
  decider: Texts | null
  decided_at: Time | null
  note: string
  /** Of what was approved: "done", or why it could not be carried out. */
  outcome: string
  version: number
}

export interface LiveApproval {
  type: 'approval'
  seq: number
  approval: ApprovalBody
}
