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
    replace: 'Replace by a new device',
    reason: 'Reason',
    retire: 'Retire',
    retireWhy: 'Its open alarms end, its history stays. Where it watches over lives a second person has to approve.',
    done: '{id}: done',
    refused: '{id}: not done',
  },
}

export default en
