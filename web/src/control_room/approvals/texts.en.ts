/** Texts about what waits for a second person. */

import type zhCN from './texts.zh-CN'

const en: typeof zhCN = {
  approvals: {
    title: 'Waiting for a second person ({n})',
    asked: '{who} asks, {age} ago',
    mine: 'You asked, {age} ago',
    approve: 'Approve',
    refuse: 'Refuse',
    withdraw: 'Withdraw',
    nothing: 'empty',
    done: 'Approved and done: {title}',
    refused: 'Refused: {title}',
    withdrawn: 'Withdrawn: {title}',
    failedTitle: 'Approved, but not done: {title}',
    notDecided: 'Not decided: {title}',
    field: {
      until: 'until',
      one_shot: 'until it clears',
      rule: 'rule',
      planned_end: 'planned end',
      starts_at: 'from',
      ends_at: 'to',
      life_safety: 'life safety too',
      name: 'name',
      place: 'place',
      time_zone: 'time zone',
      adopted: 'adopted',
      changes: 'changes',
      reason: 'reason',
    },
    outcome: {
      requester_gone: 'Who asked has no account any more.',
      requester_not_permitted: 'Who asked may not do this any more.',
      approver_not_permitted: 'You may not do this any more.',
    },
    act: {
      alarm: { shelve: 'Shelve an alarm' },
      equipment: { adopt: 'Adopt equipment', out_of_service: 'Take out of service' },
      rule: { changed: 'Change a rule' },
      site: { add: 'Enter a site', edit: 'Change a site' },
    },
  },
}

export default en
