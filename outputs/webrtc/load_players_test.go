package webrtc

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"
)

// runPlayers plays from many viewers and measures how long packets take from
// being written to the stream to being decrypted.
func runPlayers() error {
	n, err := strconv.Atoi(os.Getenv("LINEOUT_LOAD_N"))
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var took []float64
	measuring := false
	var playing sync.WaitGroup
	for range n {
		playing.Add(1)
		err := loadPlayer(os.Getenv("LINEOUT_LOAD_URL"), sync.OnceFunc(playing.Done), func(ms float64) {
			mu.Lock()
			if measuring && ms >= 0 {
				took = append(took, ms)
			}
			mu.Unlock()
		})
		if err != nil {
			return err
		}
	}
	playing.Wait()
	time.Sleep(time.Second)
	fmt.Println("playing")
	in := bufio.NewScanner(os.Stdin)
	in.Scan()
	mu.Lock()
	measuring = true
	mu.Unlock()
	in.Scan()
	mu.Lock()
	defer mu.Unlock()
	if len(took) == 0 {
		return errors.New("no packet arrived")
	}
	slices.Sort(took)
	return json.NewEncoder(os.Stdout).Encode(loadResult{P50: took[len(took)/2], P99: took[len(took)*99/100], Packets: len(took)})
}

// loadPlayer plays url; seen is told the first picture, packet each packet's
// age in milliseconds. Each has sockets of its own, as real players have.
func loadPlayer(url string, seen func(), packet func(ms float64)) error {
	var me webrtc.MediaEngine
	if err := me.RegisterDefaultCodecs(); err != nil {
		return err
	}
	var se webrtc.SettingEngine
	se.SetIncludeLoopbackCandidate(true)
	se.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(se), webrtc.WithMediaEngine(&me), webrtc.WithInterceptorRegistry(&interceptor.Registry{})).
		NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	pc.OnTrack(func(tr *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		at := 12 // behind the RTP header, for video also behind the FU-A header
		if tr.Kind() == vid {
			at = 14
		}
		buf := make([]byte, 1500)
		for {
			n, _, err := tr.Read(buf)
			if err != nil {
				return
			}
			now := time.Now().UnixNano()
			if tr.Kind() == vid {
				seen()
			}
			if n > 100 { // parameter sets carry no time
				packet(float64(now-int64(binary.BigEndian.Uint64(buf[at:]))) / 1e6)
			}
		}
	})
	for _, k := range []webrtc.RTPCodecType{aud, vid} {
		if _, err := pc.AddTransceiverFromKind(k, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			return err
		}
	}
	o, err := pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	if err := pc.SetLocalDescription(o); err != nil {
		return err
	}
	resp, err := http.Post(url, "application/sdp", strings.NewReader(o.SDP))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("WHEP: %s %s", resp.Status, b)
	}
	return pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(b)})
}
