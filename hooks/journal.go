package hooks

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// journal is the file of one address's queue. Each line is a checksum and a
// record, appended when something is queued or done with; a line that was torn
// by a crash is left out when the file is read. A journal that holds mostly
// what is done with is written anew beside itself and renamed. It is used by
// one goroutine.
type journal struct {
	path string
	file *os.File
	size int64
}

// record is one line: a notification, or (without body) that one is done with,
// or (without number) the last status of a running call, which was delivered.
type record struct {
	Seq    uint64          `json:"n"`
	At     int64           `json:"at,omitempty"` // milliseconds since 1970
	Call   string          `json:"call,omitempty"`
	Method string          `json:"method,omitempty"` // CallStatusEvent if missing
	Body   json.RawMessage `json:"body,omitempty"`
}

// remains is what a journal holds.
type remains struct {
	// items are not done with, in order.
	items []*item
	// broken are the ends of calls that were running when the process ended.
	broken  []*item
	damaged int // lines
}

const (
	// maxLine is far more than a record needs; a longer line is damage.
	maxLine = 1 << 20
	// smallJournal is not worth being written anew.
	smallJournal = 64 << 10
)

// fileName names an address's journal without telling the address: it may hold
// a password or a key.
func fileName(u *url.URL) string {
	v := *u
	v.User = nil
	sum := sha256.Sum256([]byte(v.String()))
	return hex.EncodeToString(sum[:8]) + ".journal"
}

// openJournal reads a journal, which need not exist.
func openJournal(path string) (*journal, remains, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, remains{}, err
	}
	was, err := readJournal(f, time.Now())
	if err != nil {
		_ = f.Close()
		return nil, remains{}, fmt.Errorf("read %s: %w", path, err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		_ = f.Close()
		return nil, remains{}, fmt.Errorf("read %s: %w", path, err)
	}
	return &journal{path: path, file: f, size: size}, was, nil
}

// readJournal finds what is not done with. The calls in it have ended: they did
// not survive the process that wrote it.
func readJournal(r io.Reader, now time.Time) (was remains, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	open := map[uint64]*item{}
	refs := map[string]*callRef{}
	var order []*callRef
	status := map[*callRef][]byte{}
	for {
		line, err := readLine(in)
		if err == io.EOF {
			if len(line) > 0 { // torn
				was.damaged++
			}
			break
		}
		if err != nil {
			return was, err
		}
		rec, ok := parseLine(line)
		switch {
		case !ok:
			was.damaged++
			continue
		case rec.Body == nil:
			delete(open, rec.Seq)
			continue
		}
		ref := refs[rec.Call]
		if ref == nil {
			ref = &callRef{id: rec.Call}
			ref.ended.Store(true)
			refs[rec.Call] = ref
			order = append(order, ref)
		}
		method := cmp.Or(rec.Method, callStatus)
		if method == callStatus {
			status[ref] = rec.Body
		}
		if rec.Seq != 0 {
			open[rec.Seq] = &item{seq: rec.Seq, at: time.UnixMilli(rec.At), call: ref, method: method, body: rec.Body}
		}
	}
	for _, it := range open {
		was.items = append(was.items, it)
	}
	slices.SortFunc(was.items, func(a, b *item) int { return cmp.Compare(a.seq, b.seq) })
	for _, ref := range order {
		if body, ok := ended(status[ref]); ok {
			was.broken = append(was.broken, &item{at: now, call: ref, method: callStatus, body: body, last: true})
		}
	}
	return was, nil
}

// readLine returns a line without its end; of one that is too long, nothing.
func readLine(in *bufio.Reader) (line []byte, err error) {
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) <= maxLine {
			line = append(line, part...)
		} else {
			line = []byte{'!'} // no checksum fits it
		}
		switch {
		case err == nil:
			return bytes.TrimSuffix(line, []byte{'\n'}), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return line, err
		}
	}
}

func parseLine(line []byte) (rec record, ok bool) {
	sum, text, found := bytes.Cut(line, []byte{' '})
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if !found || err != nil || crc32.ChecksumIEEE(text) != uint32(want) || json.Unmarshal(text, &rec) != nil {
		return record{}, false
	}
	if rec.Method != "" && rec.Method != onMessage && rec.Method != onDTMF && !slices.Contains(ofSessions, rec.Method) {
		return record{}, false
	}
	return rec, true
}

// appendLine adds a record to a buffer.
func appendLine(b []byte, rec record) []byte {
	text, err := json.Marshal(rec)
	if err != nil { // cannot be: the body was made by json.Marshal too
		return b
	}
	b = fmt.Appendf(b, "%08x ", crc32.ChecksumIEEE(text))
	return append(append(b, text...), '\n')
}

func (it *item) record() record {
	r := record{Seq: it.seq, Call: it.call.id, Body: it.body}
	if it.seq != 0 {
		r.At = it.at.UnixMilli()
	}
	if it.method != callStatus {
		r.Method = it.method
	}
	return r
}

// append writes changes by one write, and has the disk take what was added.
// That something is done with may be forgotten: it is then sent twice.
func (j *journal) append(changes []change) error {
	var b []byte
	added := false
	for _, c := range changes {
		if c.done {
			b = appendLine(b, record{Seq: c.item.seq})
		} else {
			b, added = appendLine(b, c.item.record()), true
		}
	}
	n, err := j.file.Write(b)
	j.size += int64(n)
	if err == nil && added {
		err = j.file.Sync()
	}
	return err
}

// writeAnew replaces the journal by one that holds these items only.
func (j *journal) writeAnew(items []*item) error {
	var b []byte
	for _, it := range items {
		b = appendLine(b, it.record())
	}
	tmp := j.path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	_ = j.file.Close() // before the rename, which Windows asks for; after a failure it is closed already
	if err == nil {
		err = os.Rename(tmp, j.path)
	}
	file, openErr := os.OpenFile(j.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if openErr == nil {
		j.file = file
	}
	if err = errors.Join(err, openErr); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	j.size = int64(len(b))
	if dir, err := os.Open(filepath.Dir(j.path)); err == nil { // the rename itself, as far as the system can
		_ = dir.Sync()
		_ = dir.Close()
	}
	return nil
}
