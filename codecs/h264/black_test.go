package h264

import (
	"bytes"
	"fmt"
	"os/exec"
	"testing"
)

// Another decoder finds nothing to complain about and sees black in every
// sample of every picture, whatever the size.
func TestBlackIsBlack(t *testing.T) {
	for _, size := range [][2]int{{640, 360}, {2, 2}, {16, 16}, {18, 34}, {176, 144}, {322, 240}, {1280, 720}, {1920, 1080}, {48, 4096}} {
		b, err := NewBlack(size[0], size[1])
		if err != nil {
			t.Fatal(err)
		}
		if p := b.Params(); p.Width != size[0] || p.Height != size[1] {
			t.Errorf("%v: parameters say %dx%d", size, p.Width, p.Height)
		}
		var stream []byte
		pictures := 0
		for range 3 { // more pictures than frame_num counts to
			for i := range 20 {
				data := b.Same()
				if i == 0 {
					data = b.Key()
					if !Codec.Keyframe(data) || !HasParameterSets(data) {
						t.Errorf("%v: no key frame: %x", size, data)
					}
					if n := len(data[2]); size == [2]int{640, 360} && n > 720 {
						t.Errorf("a key frame of 640x360 has %d bytes", n)
					}
				} else if Codec.Keyframe(data) || len(data[0]) > 12 {
					t.Errorf("%v: a repeated picture is %x", size, data)
				}
				for _, n := range data {
					stream = append(append(stream, 0, 0, 0, 1), n...)
				}
				pictures++
			}
		}
		cmd := exec.Command("ffmpeg", "-v", "warning", "-err_detect", "+crccheck+bitstream+buffer+explode+careful+compliant+aggressive",
			"-f", "h264", "-i", "-", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-")
		cmd.Stdin = bytes.NewReader(stream)
		var complaints bytes.Buffer
		cmd.Stderr = &complaints
		yuv, err := cmd.Output()
		if err != nil || complaints.Len() > 0 {
			t.Fatalf("%v: %v %s", size, err, &complaints)
		}
		luma := size[0] * size[1]
		if len(yuv) != pictures*luma*3/2 {
			t.Fatalf("%v: %d bytes, want %d pictures of %d", size, len(yuv), pictures, luma*3/2)
		}
		for p := range pictures {
			pic := yuv[p*luma*3/2:][:luma*3/2]
			if n := bytes.Count(pic[:luma], []byte{16}); n != luma {
				t.Fatalf("%v: picture %d has %d of %d black samples", size, p, n, luma)
			}
			if n := bytes.Count(pic[luma:], []byte{128}); n != luma/2 {
				t.Fatalf("%v: picture %d has colour", size, p)
			}
		}
	}
}

func TestBlackRefusesSizes(t *testing.T) {
	for _, size := range [][2]int{{0, 0}, {641, 360}, {640, 361}, {-2, 2}, {8192, 16}, {4096, 4096}} {
		if _, err := NewBlack(size[0], size[1]); err == nil {
			t.Errorf("%v is taken", size)
		}
	}
}

// Emulation prevention: no start code inside a NAL unit.
func TestNALHasNoStartCode(t *testing.T) {
	var w bitWriter
	for i := range 12 {
		w.u(uint(i%4), 8)
		w.u(0, 24)
	}
	n := w.nal(1)
	for i := range 3 {
		if bytes.Contains(n, []byte{0, 0, byte(i)}) {
			t.Errorf("%x holds a forbidden sequence", n)
		}
	}
	if want := fmt.Sprintf("%x", []byte{1, 0, 0, 3, 0, 0, 3, 1}); !bytes.HasPrefix([]byte(fmt.Sprintf("%x", n)), []byte(want)) {
		t.Errorf("got %x, want %s…", n, want)
	}
}
