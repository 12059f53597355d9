/** Questions to the gateway over HTTP. Every failure is a `RefusedError` with a code that the page can put into words. */

import type { ApprovalBody } from '@/shared/contract/approvals'
import type { AlarmAct, AlarmBody, AlarmDetail, HealthBody, Page, Problem } from '@/shared/contract/contract'
import type { Login, Me } from '@/shared/contract/people'
import type { QuarantineSummaryBody, UnreadTopicBody } from '@/shared/contract/quarantine'
import type { Shelve } from '@/shared/contract/suppression'

export const BASE = '/api/v1'
const TIMEOUT_MS = 10_000

/** Codes that the page sets itself, without an answer of the gateway. */
export const NO_ANSWER = 'no_answer'
export const UNREADABLE_ANSWER = 'unreadable_answer'
/** 202: nothing is done yet. */
export const NEEDS_SECOND_PERSON = 'needs_second_person'
const PUT_ASIDE = 202

export class RefusedError extends Error {
  constructor(
    readonly code: string,
    readonly status: number,
    readonly detail: string,
    /** Seconds after which it may be tried again. */
    readonly retryAfter: number | null = null,
  ) {
    super(detail === '' ? code : `${code}: ${detail}`)
    this.name = 'RefusedError'
  }
}

export function logIn(login: Login): Promise<Me> {
  return ask<Me>('POST', `${BASE}/session`, login)
}

export async function logOut(): Promise<void> {
  await send('DELETE', `${BASE}/session`)
}

export function fetchMe(): Promise<Me> {
  return ask<Me>('GET', `${BASE}/me`)
}

export function acknowledgeAlarm(id: string, act: AlarmAct): Promise<AlarmBody> {
  return ask<AlarmBody>('POST', `${BASE}/alarms/${encodeURIComponent(id)}/acknowledge`, act)
}

export function shelveAlarm(id: string, act: Shelve): Promise<AlarmBody> {
  return ask<AlarmBody>('POST', `${BASE}/alarms/${encodeURIComponent(id)}/shelve`, act)
}

export function unshelveAlarm(id: string, version: number): Promise<AlarmBody> {
  return ask<AlarmBody>('POST', `${BASE}/alarms/${encodeURIComponent(id)}/unshelve`, { version })
}

export function silenceAlarm(id: string, act: AlarmAct): Promise<AlarmBody> {
  return ask<AlarmBody>('POST', `${BASE}/alarms/${encodeURIComponent(id)}/silence`, act)
}

export function resetAlarm(id: string, act: AlarmAct): Promise<AlarmBody> {
  return ask<AlarmBody>('POST', `${BASE}/alarms/${encodeURIComponent(id)}/reset`, act)
}

export function fetchAlarm(id: string): Promise<AlarmDetail> {
  return ask<AlarmDetail>('GET', `${BASE}/alarms/${encodeURIComponent(id)}`)
}

/** As the second person, or to withdraw the own request. */
export function decideApproval(approval: ApprovalBody, how: 'approve' | 'refuse' | 'withdraw'): Promise<ApprovalBody> {
  const path = `${BASE}/approvals/${encodeURIComponent(approval.id)}/${how}`
  return ask<ApprovalBody>('POST', path, { version: approval.version })
}

/** How much of each site could not be read in the last 24 hours. */
export function fetchQuarantineSummary(): Promise<Page<QuarantineSummaryBody>> {
  return ask<Page<QuarantineSummaryBody>>('GET', `${BASE}/quarantine/summary`)
}

/** Topics that no mapping reads; for administrators. */
export function fetchUnreadTopics(): Promise<Page<UnreadTopicBody>> {
  return ask<Page<UnreadTopicBody>>('GET', `${BASE}/quarantine/unread-topics`)
}

/** Which clock the service runs on; public. */
export function fetchHealth(): Promise<HealthBody> {
  return ask<HealthBody>('GET', '/healthz')
}

/** Address of the live feed, beside the page: wss where the page came over https. */
export function liveAddress(location: { protocol: string; host: string }): string {
  return `${location.protocol === 'https:' ? 'wss:' : 'ws:'}//${location.host}${BASE}/live`
}

export async function ask<Answer>(method: string, path: string, body?: object): Promise<Answer> {
  const response = await send(method, path, body)
  if (response.status === PUT_ASIDE) throw new RefusedError(NEEDS_SECOND_PERSON, PUT_ASIDE, '')
  try {
    return (await response.json()) as Answer
  } catch {
    throw new RefusedError(UNREADABLE_ANSWER, response.status, '')
  }
}

export async function send(method: string, path: string, body?: object): Promise<Response> {
  const init: RequestInit = { method, credentials: 'same-origin', signal: AbortSignal.timeout(TIMEOUT_MS) }
  if (body) {
    init.headers = { 'Content-Type': 'application/json' }
    init.body = JSON.stringify(body)
  }
  let response: Response
  try {
    response = await fetch(path, init)
  } catch {
    throw new RefusedError(NO_ANSWER, 0, '')
  }
  if (!response.ok) throw await refusal(response)
  return response
}

async function refusal(response: Response): Promise<RefusedError> {
  try {
    const problem = (await response.json()) as Partial<Problem>
    if (typeof problem.code === 'string') {
      const seconds = Number(response.headers.get('Retry-After') ?? Number.NaN)
      const retryAfter = Number.isFinite(seconds) ? seconds : null
      return new RefusedError(problem.code, response.status, problem.detail ?? problem.title ?? '', retryAfter)
    }
  } catch {
    // Not the gateway but something before it has answered, a proxy for example: its page is of no use here.
  }
  return new RefusedError(NO_ANSWER, response.status, response.statusText)
}
