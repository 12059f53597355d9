/** Small whole bodies of the contract, of which a test names only what it is about. */

import type { ApprovalBody } from '@/shared/contract/approvals'
import type { AlarmBody, Beat, EquipmentBody, LiveAlarm, LiveReading, Snapshot, TicketBody } from '@/shared/contract/contract'
import type { SuppressionBody } from '@/shared/contract/suppression'

/** 02:00 in Shanghai. */
export const NOW = Date.parse('2026-11-21T18:00:00Z')

export function ago(milliseconds: number): string {
  return new Date(NOW - milliseconds).toISOString()
}

export function anAlarm(given: Partial<AlarmBody> = {}): AlarmBody {
  return {
    id: 'a1',
    site: 'SZ01',
    equipment: 'SZ01:lift-1',
    kind: 'elevator',
    part: '',
    zone: '',
    rule: 'entrapment',
    title: { en: 'Entrapment', 'zh-CN': '电梯困人' },
    advice: { en: 'Speak to them.', 'zh-CN': '先安抚。' },
    priority: 'critical',
    life_safety: true,
    state: 'unacknowledged',
    active: true,
    raised_at: ago(60_000),
    received_at: ago(60_000),
    returned_at: null,
    acknowledged_at: null,
    acknowledged_by: null,
    closed_at: null,
    silenced_at: null,
    silenced_by: null,
    re_alarm_at: null,
    activations: 1,
    field: '',
    value: null,
    unit: '',
    drill: false,
    chattering: false,
    ticket: null,
    annunciated: true,
    suppressions: [],
    version: 1,
    ...given,
  }
}

export function aSuppression(given: Partial<SuppressionBody> = {}): SuppressionBody {
  return {
    reason: 'shelved',
    person: { en: 'Li', 'zh-CN': '李' },
    second_person: null,
    source: '',
    since: ago(60_000),
    until: ago(-60_000),
    why: 'loose plug',
    ...given,
  }
}

export function anEquipment(given: Partial<EquipmentBody> = {}): EquipmentBody {
  return {
    id: 'SZ01:lift-1',
    site: 'SZ01',
    code: 'lift-1',
    kind: 'elevator',
    name: { en: 'Lift 1', 'zh-CN': '1号梯' },
    place: { en: 'Building 1', 'zh-CN': '1栋' },
    adopted: true,
    version: 1,
    online: true,
    last_seen: ago(1_000),
    clock: '',
    latest: {},
    out_of_service: [],
    ...given,
  }
}

export function aTicket(given: Partial<TicketBody> = {}): TicketBody {
  return {
    number: 'R-SZ01-20261122-0001',
    type: 'repair',
    site: 'SZ01',
    equipment: 'SZ01:lift-1',
    title: { en: 'Door slow', 'zh-CN': '门慢' },
    priority: 'medium',
    state: 'open',
    opened_at: ago(60_000),
    alarm: null,
    alarms: [],
    playbook: '',
    drill: false,
    version: 1,
    ...given,
  }
}

export function aSnapshot(given: Partial<Snapshot> = {}): Snapshot {
  return {
    type: 'snapshot',
    seq: 10,
    at: new Date(NOW).toISOString(),
    sites: [],
    profiles: [],
    equipment: [],
    alarms: [],
    tickets: [],
    maintenance: [],
    ...given,
  }
}

export function aBeat(seq: number, at = NOW): Beat {
  return { type: 'beat', seq, at: new Date(at).toISOString() }
}

export function anAlarmMessage(seq: number, given: Partial<AlarmBody> = {}): LiveAlarm {
  return { type: 'alarm', seq, alarm: anAlarm(given) }
}

export function aReading(seq: number, latest: LiveReading['latest'], given: Partial<LiveReading> = {}): LiveReading {
  return { type: 'reading', seq, equipment: 'SZ01:lift-1', online: true, last_seen: ago(0), clock: '', latest, ...given }
}

export function anApproval(given: Partial<ApprovalBody> = {}): ApprovalBody {
  return {
    id: 'p1',
    site: 'SZ01',
    act: 'adopt_equipment',
    method: 'POST',
    route: '/api/v1/equipment/{equipment}/adopt',
    path: { equipment: 'SZ01:S-1' },
    query: {},
    body: { version: 1 },
    changes: [],
    thing: 'SZ01:S-1',
    reason: 'approval.permissions',
    requested_by: 'wei',
    requester: { en: 'Wei', 'zh-CN': '伟' },
    at: ago(60_000),
    expires_at: ago(-60_000),
    state: 'waiting',
    decided_by: null,
    decider: null,
    decided_at: null,
    note: '',
    outcome: '',
    version: 1,
    ...given,
  }
}
