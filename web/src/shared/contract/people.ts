/** The gateway's JSON about people, as `gateway/api/people/bodies.py` defines it. */

import type { Texts, Time } from './contract'

export interface Login {
  username: string
  password: string
  /** Of the second factor, or a recovery code; empty if none is required. */
  code?: string
}

export interface Me {
  id: string
  username: string
  name: Texts
  /** A site's code, or "*" for all, to the roles held there. */
  roles: Record<string, string[]>
  permissions: string[]
  account: boolean
  demo: boolean
  /** The fewest characters of a password here. */
  password_length: number
  /** Somebody else has chosen my password. */
  password_temporary: boolean
  second_factor: boolean
}

export interface LoginBody {
  id: string
  created_at: Time
  last_used_at: Time
  origin: string
  agent: string
  current: boolean
}

export interface SecondFactorBody {
  secret: string
  address: string
  /** The address as a QR code: SVG as a data address. */
  image: string
}

export interface RecoveryCodes {
  codes: string[]
}

export interface PersonBody {
  id: string
  username: string
  name: Texts
  roles: Record<string, string[]>
  disabled: boolean
  second_factor: boolean
  password_temporary: boolean
  created_at: Time
  last_seen: Time | null
  version: number
}

export interface AddPerson {
  username: string
  name: Texts
  password: string
  roles: { site: string; role: string }[]
}
