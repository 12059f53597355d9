/** Texts of the page about the ledger. */

import type zhCN from './texts.zh-CN'

const en: typeof zhCN = {
  ledger: {
    title: 'Equipment',
    back: '← Control room',
    open: 'Equipment',
    search: 'Code, name or place',
    retiredOnly: 'Retired only',
    none: 'No equipment fits.',
    unknown: 'not adopted',
    retired: 'retired',
    formerCodes: 'Former codes: {codes}',
    replaces: 'Replaces {id}',
    replacedBy: 'Replaced by {id}',
    sharesCode: 'Sends the code of {id}: correct the kind, or give one of the two another code',
    speaks: '{n} messages since it was retired, last on {topic}',
    nameZh: 'Name (Chinese)',
    nameEn: 'Name (English)',
    placeZh: 'Place (Chinese)',
    placeEn: 'Place (English)',
    kind: 'Kind',
    correct: 'Save',
    adopt: 'Adopt',
    takeBack: 'Take back into use',
    code: 'New code',
    rename: 'Rename',
    replace: 'Replace',
    reason: 'Reason',
    retire: 'Retire',
    change: 'Change',
    fold: 'Close',
    correctTitle: 'Name, place and kind',
    renameTitle: 'Another code',
    renameWhy: 'The same device. Alarms, tickets, rules and history go on; messages under the former code still count as its own.',
    replaceTitle: 'Another device',
    replaceWhy: 'The new device gets the name, place, links, rules and history. The old one is retired.',
    newCode: 'Code of the new device',
    retireTitle: 'Taken away for good',
    retireWhy: 'Its open alarms end; open tickets and its history stay. For sources of life safety a second person has to approve.',
    done: '{id}: done',
    refused: '{id}: not done',
    waits: '{id}: waits for approval',
  },
}

export default en
