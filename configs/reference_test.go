package configs_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"lineout/configs"
	"lineout/server"
)

var update = flag.Bool("update", false, "write reference.yaml and docs/settings.md anew")

func fullSet(t testing.TB) *configs.Set {
	t.Helper()
	s, err := configs.New(server.NewSettings("test").Sections()...)
	require.NoError(t, err)
	return s
}

// The reference file and the documentation are what the tables say.
func TestGeneratedFilesAreUpToDate(t *testing.T) {
	s := fullSet(t)
	for path, want := range map[string]string{"reference.yaml": s.Reference(), filepath.Join("..", "docs", "settings.md"): s.Markdown()} {
		if *update {
			require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		}
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(got), "%s is out of date: run go test ./configs -update", path)
	}
}

// Loading the reference file changes nothing and warns of nothing.
func TestReferenceFileLoads(t *testing.T) {
	s := fullSet(t)
	path := filepath.Join(t.TempDir(), "reference.yaml")
	require.NoError(t, os.WriteFile(path, []byte(configs.ReferenceFile()), 0o600))
	warnings, err := s.Load(configs.Sources{File: path})
	require.NoError(t, err)
	require.Empty(t, warnings)
	for _, v := range s.Effective() {
		require.Equal(t, v.Default, v.Value, v.Name)
		require.NotEmpty(t, v.Doc, "%s has no doc", v.Name)
	}
}

// A file of the original server starts this one: every line is either used or
// explained, only what neither knows is called unknown.
func TestOriginalFileLoads(t *testing.T) {
	s := fullSet(t)
	path := filepath.Join(t.TempDir(), "flashphoner.properties")
	require.NoError(t, os.WriteFile(path, []byte(`ip =192.0.2.1
ip_local =0.0.0.0
port_from =30000
port_to =31000
media_port_from =31001
media_port_to =32000
codecs =opus,alaw,ulaw,g729,speex16,g722,mpeg4-generic,telephone-event,vp8,h264,flv,mpv
codecs_exclude_sip =mpeg4-generic,flv,mpv
codecs_exclude_sip_rtmp =opus,g729,g722,mpeg4-generic,vp8,mpv
user_agent =Flashphoner/1.0
dtmf =rfc2833
rtp_activity_detecting =true,60
rtp_in_buffer=true
generate_av_start_delay=1000
rtp_session_init_always=true
sip_single_route_only=true
sip_record_stream=true
http.port=8081
ws.port=8080
rtmfp.port=1935
wss.cert.password=secret
hls_list_size=8
disable_rest_auth=false
rest_access_control_allow_origin=*
`), 0o600))
	warnings, err := s.Load(configs.Sources{File: path})
	require.NoError(t, err)
	for _, w := range warnings {
		require.Contains(t, w, "is not needed here and ignored", w)
		require.NotContains(t, w, "secret")
	}
	require.Len(t, warnings, 4)
}
