package h264

import (
	"bytes"
	"encoding/base64"
	"testing"

	"lineout/media"
)

func TestKeyframe(t *testing.T) {
	for _, tc := range []struct {
		name string
		data [][]byte
		want bool
	}{
		{"nothing", nil, false},
		{"an empty unit", [][]byte{{}}, false},
		{"IDR", [][]byte{{0x67, 1}, {0x68, 1}, {0x65, 0x88}}, true},
		{"P", [][]byte{{0x41, 0x9a}}, false},
		{"recovery point", [][]byte{{0x06, 0x06, 0x01, 0xc4, 0x80}, {0x41, 0x9a}}, false},
		{"only parameter sets", [][]byte{{0x67, 1}, {0x68, 1}}, false},
	} {
		if got := Codec.Keyframe(tc.data); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
	if HasParameterSets([][]byte{{0x67}, {0x65}}) || HasParameterSets([][]byte{{0x68}}) || !HasParameterSets([][]byte{{0x67}, {0x68}, {0x65}}) {
		t.Error("HasParameterSets needs both, and only both")
	}
}

// Profiles as phones send them, made by an encoder that is not ours.
func TestParamsOfRealStreams(t *testing.T) {
	for _, tc := range []struct {
		size string
		args []string
		w, h int
	}{
		{"640x360", []string{"-profile:v", "baseline"}, 640, 360},
		{"352x288", []string{"-profile:v", "main"}, 352, 288},
		{"1920x1080", []string{"-profile:v", "high", "-preset", "ultrafast"}, 1920, 1080},
		{"178x98", []string{"-profile:v", "high"}, 178, 98},
	} {
		nals := encoded(t, tc.size, tc.args...)
		p := Codec.Params(nil, nals)
		if p == nil || p.Width != tc.w || p.Height != tc.h || p.FrameRate != 25 || len(p.Sets) != 2 {
			t.Errorf("%s: %+v", tc.size, p)
			continue
		}
		if nalType(p.Sets[0]) != nalSPS || nalType(p.Sets[1]) != nalPPS {
			t.Errorf("%s: sets %x", tc.size, p.Sets)
		}
		if again := Codec.Params(p, nals); again != p {
			t.Errorf("%s: the same sets gave new parameters", tc.size)
		}
	}
}

func TestParamsChange(t *testing.T) {
	a, b := encoded(t, "320x240"), encoded(t, "640x480")
	spsA, ppsA, spsB := a[0], a[1], b[0]
	if Codec.Params(nil, [][]byte{spsA}) != nil || Codec.Params(nil, [][]byte{ppsA}) != nil {
		t.Error("half a set gave parameters")
	}
	p := Codec.Params(nil, [][]byte{spsA, ppsA})
	if Codec.Params(p, [][]byte{{0x41, 1}}) != p || Codec.Params(p, nil) != p || Codec.Params(p, [][]byte{ppsA}) != p {
		t.Error("nothing new gave new parameters")
	}
	q := Codec.Params(p, [][]byte{spsB})
	if q == p || q.Width != 640 || !bytes.Equal(q.Sets[1], ppsA) {
		t.Errorf("a new SPS alone: %+v", q)
	}
	if p.Width != 320 || !bytes.Equal(p.Sets[0], spsA) {
		t.Error("the old parameters were changed")
	}
	second := []byte{0x68, 0x5a, 0x11} // id 1: 010
	r := Codec.Params(p, [][]byte{second})
	if r == p || len(r.Sets) != 3 || !bytes.Equal(r.Sets[2], second) {
		t.Errorf("a second PPS: %+v", r)
	}
	changed := append(bytes.Clone(ppsA), 0x80)
	if s := Codec.Params(r, [][]byte{changed}); len(s.Sets) != 3 || !(bytes.Equal(s.Sets[1], changed) || bytes.Equal(s.Sets[2], changed)) {
		t.Errorf("a changed PPS: %x", s.Sets)
	}
	if s := Codec.Params(r, [][]byte{spsB, changed}); len(s.Sets) != 2 {
		t.Errorf("sets of the old SPS are left: %x", s.Sets)
	}
	if Codec.Params(p, [][]byte{{0x67, 1, 2}, {0x67}}) != p {
		t.Error("an SPS that cannot be read changed something")
	}
	spsA[5] ^= 0xff
	if p.Sets[0][5] == spsA[5] {
		t.Error("the sets hold on to the packet")
	}
}

func TestPPSID(t *testing.T) {
	for _, tc := range []struct {
		pps  []byte
		want int
	}{
		{[]byte{0x68, 0x80}, 0}, {[]byte{0x68, 0x40}, 1}, {[]byte{0x68, 0x60}, 2}, {[]byte{0x68, 0x20}, 3},
		{[]byte{0x68, 0x00, 0x80, 0x00}, 255}, {[]byte{0x68, 0, 0}, -1}, {[]byte{0x68}, -1},
	} {
		if got := ppsID(tc.pps); got != tc.want {
			t.Errorf("%x: %d, want %d", tc.pps, got, tc.want)
		}
	}
}

func TestParseFmtp(t *testing.T) {
	nals := encoded(t, "640x360")
	b64 := base64.StdEncoding.EncodeToString
	f, err := ParseFmtp("profile-level-id=42E01F; packetization-mode=1;sprop-parameter-sets=" + b64(nals[0]) + "," + b64(nals[1]) + ";max-fs=3600")
	if err != nil || f.Mode != 1 || f.ProfileLevelID != "42e01f" || f.Params == nil || f.Params.Width != 640 {
		t.Errorf("%+v, %v", f, err)
	}
	for _, line := range []string{"", "x", "=;;=", "profile-level-id=42e01f"} {
		if f, err := ParseFmtp(line); err != nil || f.Mode != 0 || f.Params != nil {
			t.Errorf("%q: %+v, %v", line, f, err)
		}
	}
	for _, line := range []string{"packetization-mode=7", "profile-level-id=xyz", "sprop-parameter-sets=!!"} {
		if _, err := ParseFmtp(line + ";packetization-mode=1"); err == nil {
			t.Errorf("%q was accepted", line)
		}
	}
}

func FuzzParams(f *testing.F) {
	f.Add([]byte{0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0xc0, 0x44}, []byte{0x68, 0xce, 0x3c, 0x80})
	f.Add([]byte{0x67, 0x64, 0, 0x1f, 0xac, 0xd9, 0x40, 0x50, 5, 0xbb, 1, 0x10}, []byte{0x68, 0xeb, 0xe3})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		p := Codec.Params(nil, [][]byte{a, b})
		q := Codec.Params(p, [][]byte{b, a})
		for _, p := range []*media.Params{p, q} {
			if p != nil && (len(p.Sets) < 2 || len(p.Sets) > maxSets || p.Width <= 0 || p.Width > maxPicture || p.Height <= 0 || p.Height > maxPicture) {
				t.Fatalf("%+v", p)
			}
		}
		Codec.Keyframe([][]byte{a, b})
	})
}

func FuzzParseFmtp(f *testing.F) {
	f.Add("profile-level-id=42e01f;packetization-mode=1;sprop-parameter-sets=Z0LAHtoCgL/lwEQ=,aM48gA==")
	f.Fuzz(func(t *testing.T, line string) {
		if f, _ := ParseFmtp(line); f.Mode < 0 || f.Mode > 2 || len(f.ProfileLevelID) > 6 {
			t.Fatalf("%+v", f)
		}
	})
}
