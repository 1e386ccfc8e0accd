from __future__ import annotations
import enum
from dataclasses import dataclass
from discordfs.records import NO_UID, Header, RecordType
LISTING_LAG_S = 10.0
class Status(enum.Enum):
    SETTLED=1; PROVISIONAL=2; REJECTED=3; UNKNOWN=4
@dataclass(frozen=True, slots=True)
class FoldState:
    head_uid: bytes = NO_UID
    head_seq: int = 0
    head_message: int = 0
    epoch: int = 0
    owner: bytes = b""
    holder: str = ""
    since: int = 0
    released: bool = False
@dataclass(frozen=True, slots=True)
class LogEntry:
    header: Header
    uid: bytes
    message: int
class Fold:
    def __init__(self, state=FoldState()):
        self._s=state; self._new=[]; self._rej=set(); self._seen=set()
    def add(self, e):
        if e.uid in self._seen: return
        self._seen.add(e.uid)
        s=self._s; h=e.header
        ok = (s.epoch==0 and h.seq==1) or (s.epoch==0 and h.type is RecordType.SNAPSHOT) or (h.epoch==s.epoch and h.owner==s.owner and h.prev==s.head_uid)
        if not ok: self._rej.add(e.uid); return
        self._s=FoldState(e.uid,h.seq,e.message,h.epoch,h.owner,h.holder,s.since or e.message,h.type is RecordType.RELEASE)
        self._new.append(e)
    def pass_time(self, now): pass
    def take_settled(self):
        n,self._new=self._new,[]; return n
    def state(self): return self._s
    def is_rejected(self, uid): return uid in self._rej
    def status(self, uid): return Status.UNKNOWN
