/** Questions about people: one's own account, and everybody's for administrators. */

import { ask, BASE, send } from '@/shared/api_client'
import type { Page, SiteBody } from '@/shared/contract/contract'
import type { AddPerson, LoginBody, PersonBody, RecoveryCodes, SecondFactorBody } from '@/shared/contract/people'

const ME = `${BASE}/me`
const PEOPLE = `${BASE}/people`

export async function fetchOwnLogins(): Promise<LoginBody[]> {
  return (await ask<Page<LoginBody>>('GET', `${ME}/logins`)).items
}

export async function endOwnLogin(id: string): Promise<void> {
  await send('POST', `${ME}/logins/${encodeURIComponent(id)}/revoke`)
}

export async function choosePassword(old: string, fresh: string): Promise<void> {
  await send('POST', `${ME}/password`, { old, new: fresh })
}

export function beginSecondFactor(password: string): Promise<SecondFactorBody> {
  return ask<SecondFactorBody>('POST', `${ME}/second-factor`, { password })
}

export async function confirmSecondFactor(code: string): Promise<string[]> {
  return (await ask<RecoveryCodes>('POST', `${ME}/second-factor/confirm`, { code })).codes
}

export async function removeSecondFactor(password: string): Promise<void> {
  await send('POST', `${ME}/second-factor/remove`, { password })
}

export async function fetchPeople(search: string): Promise<PersonBody[]> {
  return (await ask<Page<PersonBody>>('GET', `${PEOPLE}?limit=200&q=${encodeURIComponent(search)}`)).items
}

export async function fetchSites(): Promise<SiteBody[]> {
  return (await ask<Page<SiteBody>>('GET', `${BASE}/sites`)).items
}

export function addPerson(person: AddPerson): Promise<PersonBody> {
  return ask<PersonBody>('POST', PEOPLE, person)
}

/** `act` is disable, enable, reset, grant or revoke; `more` is what it needs beside the version. */
export function changePerson(person: PersonBody, act: string, more: object = {}): Promise<PersonBody> {
  const path = `${PEOPLE}/${encodeURIComponent(person.id)}/${act}`
  return ask<PersonBody>('POST', path, { version: person.version, ...more })
}
