import { describe, expect, it } from 'vitest'

import { differences, saidWhy } from '@/control_room/approvals/approval_changes'
import type { ApprovalBody } from '@/shared/contract/approvals'
import type { LiveMessage } from '@/shared/contract/contract'
import { applyApproval, applyMessages, EMPTY_FEED, type FeedState } from '@/shared/live/feed_state'

import { aSnapshot, anApproval, NOW } from './builders'

function told(...approvals: ApprovalBody[]): FeedState {
  const messages: LiveMessage[] = [aSnapshot({ seq: 1 })]
  for (const approval of approvals) messages.push({ type: 'approval', seq: messages.length + 1, approval })
  const { state, outcome } = applyMessages(EMPTY_FEED, messages, NOW)
  expect(outcome).toBe('applied')
  return state
}

describe('what waits for a second person', () => {
  it('is there until somebody has decided it', () => {
    expect([...told(anApproval()).approvals.keys()]).toEqual(['p1'])
    expect(told(anApproval(), anApproval({ state: 'refused', version: 2 })).approvals.size).toBe(0)
  })

  it('does not come back by an older message', () => {
    const state = told(anApproval({ version: 2 }), anApproval({ version: 1, state: 'withdrawn' }))
    expect(state.approvals.size).toBe(1)
  })

  it('goes with the answer to my own decision, before the feed tells of it', () => {
    expect(applyApproval(told(anApproval()), anApproval({ state: 'approved', version: 2 })).approvals.size).toBe(0)
  })

  it('begins anew with each snapshot: the server tells all of it again', () => {
    const { state } = applyMessages(told(anApproval()), [aSnapshot()], NOW)
    expect(state.approvals.size).toBe(0)
  })
})

const time = (at: number): string => new Date(at).toISOString().slice(11, 16)

describe('what it would change', () => {
  it('is each field that differs, texts in both languages', () => {
    const before = { adopted: false, version: 1, name: { en: 'S-1', 'zh-CN': 'S-1' }, place: { en: '', 'zh-CN': '' } }
    const after = { adopted: true, version: 2, name: { en: 'Smoke', 'zh-CN': '烟感' }, place: { en: '', 'zh-CN': '' } }
    expect(differences([{ act: 'equipment.adopt', thing: 'SZ01:S-1', before, after }], time)).toEqual([
      { field: 'adopted', before: 'false', after: 'true' },
      { field: 'name', before: 'S-1', after: 'Smoke / 烟感' },
    ])
  })

  it('says why somebody asks, where they have said so', () => {
    expect(saidWhy({ version: 1, reason: 'painters' })).toBe('painters')
    expect(saidWhy({ version: 1, note: '' })).toBe('')
    expect(saidWhy(null)).toBe('')
  })

  it('says times as times, and leaves out who: that stands beside it', () => {
    const after = { since: NOW, until: NOW, person: 'p-1', one_shot: true, life_safety: false }
    expect(differences([{ act: 'alarm.shelve', thing: 'SZ01:FP-1', before: null, after }], time)).toEqual([
      { field: 'until', before: '', after: '18:00' },
      { field: 'one_shot', before: '', after: 'true' },
    ])
  })

  it('is everything of what is new, and lists as they are', () => {
    const after = { time_zone: 'UTC', points: [{ at: 1 }] }
    expect(differences([{ act: 'site.add', thing: 'site:C', before: null, after }], time)).toEqual([
      { field: 'time_zone', before: '', after: 'UTC' },
      { field: 'points', before: '', after: '[{"at":1}]' },
    ])
  })
})
