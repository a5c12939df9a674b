package hooks

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lineout/calls"
)

// A journal does not grow with what was delivered.
func TestJournalStaysSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		n, _, stop := start(t, settings(t.TempDir()), r)
		defer stop()
		for i := range 500 {
			whole(n, fmt.Sprint("c", i))
			synctest.Wait()
		}
		if f, err := os.Stat(n.targets[0].journal.path); err != nil || f.Size() > 2*smallJournal {
			t.Errorf("%d bytes after %d delivered notifications, %v", f.Size(), len(r.got()), err)
		}
	})
}

// A folder that is gone is said once; memory goes on, and so does the journal
// when the folder is back.
func TestJournalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := filepath.Join(t.TempDir(), "n")
		r := &receiver{answer: func(int, string) (int, error) { return 0, errDown }}
		n, l, stop := start(t, settings(folder), r)
		defer stop()
		whole(n, "a")
		synctest.Wait()
		if err := os.RemoveAll(folder); err != nil {
			t.Fatal(err)
		}
		n.targets[0].q.writeAnew()
		time.Sleep(time.Minute)
		if l.count("cannot be kept on disk") != 1 {
			t.Errorf("log:\n%s", l)
		}
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(diskPause)
		synctest.Wait()
		if l.count("on disk again") != 1 {
			t.Errorf("log:\n%s", l)
		}
		b, err := os.ReadFile(n.targets[0].journal.path)
		if err != nil {
			t.Fatal(err)
		}
		if was, err := readJournal(bytes.NewReader(b), time.Now()); len(was.items) != 4 || len(was.broken) != 0 || was.damaged != 0 || err != nil {
			t.Errorf("%+v, %v", was, err)
		}
	})
}

// Only whole lines count, wherever a crash or a bad disk has cut or changed.
func FuzzReadJournal(f *testing.F) {
	ref := &callRef{id: "s1"}
	var b []byte
	for i := range uint64(3) {
		body, err := newEvent(info("a", calls.Trying, 100, ""), "n", "s1").encode()
		if err != nil {
			f.Fatal(err)
		}
		b = appendLine(b, (&item{seq: i + 1, at: time.UnixMilli(1), call: ref, method: callStatus, body: body}).record())
	}
	b = appendLine(b, record{Seq: 2})
	was, err := readJournal(bytes.NewReader(b), time.UnixMilli(5))
	if items := was.items; len(items) != 2 || items[0].seq != 1 || items[1].seq != 3 || len(was.broken) != 1 || was.damaged != 0 || err != nil {
		f.Fatalf("%+v, %v", was, err)
	}
	f.Add(appendLine(nil, record{Call: "s1", Body: was.broken[0].body}))
	f.Add(appendLine(nil, record{Seq: 7, Call: "s2", Method: onDTMF, Body: []byte("{}")}))
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Add([]byte(strings.Repeat("x", 2*maxLine) + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		was, err := readJournal(bytes.NewReader(b), time.UnixMilli(5))
		if err != nil {
			t.Fatal(err)
		}
		// What was read can be written, and reads as the same; ends are told once.
		var again []byte
		for _, it := range append(was.items, was.broken...) {
			again = appendLine(again, it.record())
		}
		was2, err := readJournal(bytes.NewReader(again), time.UnixMilli(6))
		if err != nil || was2.damaged != 0 || len(was2.items) != len(was.items) || len(was2.broken) != 0 {
			t.Fatalf("%+v became %+v, %v", was, was2, err)
		}
	})
}
