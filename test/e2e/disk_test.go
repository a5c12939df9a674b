//go:build e2e && linux

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"lineout/test/peers"
)

// TestFullDisk: the disk of the recordings is full for some seconds of a call.
// REST and the log say so, the call and its HLS go on, and when there is room
// again the recording goes on in a new part whose sidecar names the gap.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("lineout-test", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatalf("a small tmpfs cannot be mounted: %v; run this test as root", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{})
	srv := peers.StartLineout(t, map[string]string{"sip_record_stream": "true", "stream_record_policy_template": "{streamName}", "record_dir": dir})
	srv.Must(t, "/rest-api/call/startup", direct("disk-1", "disk_1", phone), nil)
	srv.WaitCall(t, "disk-1", "ESTABLISHED")
	srv.Must(t, "/rest-api/hls/startup", map[string]any{"name": "disk_1"}, nil)
	recording := func() (r struct {
		State string
		Error *string
		Parts int
	}) {
		var list []json.RawMessage
		srv.Must(t, "/rest-api/recorder/find_all", map[string]any{}, &list)
		if len(list) != 1 {
			t.Fatalf("%d recordings are listed", len(list))
		}
		if err := json.Unmarshal(list[0], &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	frames := func() int {
		if v := srv.CallStats(t, "disk-1").Track("video"); v != nil {
			return v.Frames
		}
		return 0
	}
	more := func(n int) {
		from := frames()
		peers.Eventually(t, "pictures", 30*time.Second, func() bool { return frames() >= from+n })
	}
	more(75)
	// Whatever room there is.
	ballast, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 4096)
	for err == nil {
		_, err = ballast.Write(chunk)
	}
	ballast.Close()
	peers.Eventually(t, "the fault in find_all", 10*time.Second, func() bool {
		r := recording()
		return r.State == "lost" && r.Error != nil && strings.Contains(*r.Error, "no space left on device")
	})
	more(75) // the call does not mind
	_, playlist := srv.Get(t, "/disk_1/disk_1.m3u8")
	if !strings.Contains(playlist, "#EXTM3U") {
		t.Errorf("HLS does not go on: %.200q", playlist)
	}
	if err := os.Remove(ballast.Name()); err != nil {
		t.Fatal(err)
	}
	peers.Eventually(t, "a new part", 20*time.Second, func() bool { r := recording(); return r.State == "active" && r.Parts >= 2 })
	more(75)
	srv.Must(t, "/rest-api/call/terminate", map[string]any{"callId": "disk-1"}, nil)
	peers.Eventually(t, "both sidecars", 20*time.Second, func() bool { return len(srv.Recordings(t, "disk_1*.mp4.json")) == 2 })
	list := srv.Recordings(t, "disk_1*.mp4")
	sort.Strings(list)
	if code, out := peers.Command(t, append([]string{"verify"}, list...)...); code != 0 {
		t.Errorf("verify: %d: %s", code, out)
	} else {
		t.Log(out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "disk_1.mp4.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s sidecar
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	lost := 0
	for _, g := range s.Gaps {
		if g.What == "disk" && g.AtMS < 0 {
			lost++
		}
	}
	if lost != 2 {
		t.Errorf("the sidecar of the part after the fault has the gaps %+v", s.Gaps)
	}
	if log := srv.Log(); !strings.Contains(log, "no space left on device") {
		t.Error("the log does not say that the disk is full")
	}
	note(t, "%+v", s.Gaps)
}
