/** Questions about the ledger: what there is, and what an administrator does to it. */

import { ask, BASE } from '@/shared/api_client'
import type { EquipmentBody, Page, ProfileBody } from '@/shared/contract/contract'

const EQUIPMENT = `${BASE}/equipment`

export type EquipmentAct = 'rename' | 'retire' | 'replace' | 'adopt'

export async function fetchEquipment(search: string, retired: boolean): Promise<EquipmentBody[]> {
  const query = `q=${encodeURIComponent(search)}&retired=${retired}`
  return (await ask<Page<EquipmentBody>>('GET', `${EQUIPMENT}?${query}`)).items
}

/** Kinds of equipment and their names. */
export async function fetchProfiles(): Promise<ProfileBody[]> {
  return (await ask<Page<ProfileBody>>('GET', `${BASE}/profiles`)).items
}

/** What is left out of `said` stays as it is. */
export function correctEquipment(item: EquipmentBody, said: object): Promise<EquipmentBody> {
  return ask<EquipmentBody>('PATCH', path(item), { version: item.version, ...said })
}

/** `more` is what the act needs beside the version. */
export function changeEquipment(item: EquipmentBody, act: EquipmentAct, more: object): Promise<EquipmentBody> {
  return ask<EquipmentBody>('POST', `${path(item)}/${act}`, { version: item.version, ...more })
}

function path(item: EquipmentBody): string {
  return `${EQUIPMENT}/${encodeURIComponent(item.id)}`
}
