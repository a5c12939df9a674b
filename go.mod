// Pinned set: go mod tidy, go build, go vet and go mod verify pass together with Go 1.26
// (also CGO_ENABLED=0), without replace or exclude. Program that imports all: imports.go.txt; checksums: go.sum.txt.
// Copy the lines you need and the go.sum entries, then go mod tidy. Do not run "go get -u" or "@latest".
module lineout

go 1.26.0

require (
	github.com/Eyevinn/mp4ff v0.54.0 // MIT. Alternative MP4/fMP4 box library (avc1/avc3, box level). @latest and v0.52.1 refused; v0.52.0..v0.54.0 served.
	github.com/abema/go-mp4 v1.7.1 // MIT. Indirectly needed by gortmplib/gohlslib (AVCDecoderConfiguration type). Raised from v1.4.1 by gortmplib.
	github.com/alecthomas/kong v1.17.0 // MIT. Command line (choose kong OR cobra).
	github.com/asticode/go-astits v1.16.0 // MIT. MPEG-TS; pulled by mediacommon. Only for direct TS work.
	github.com/at-wat/ebml-go v0.19.0 // Apache-2.0. WebM/Matroska writer (v0.19.0 has Cues + Duration). @latest refused; v0.17.1..v0.19.0 served.
	github.com/bluenviron/gohlslib/v2 v2.4.3 // MIT. HLS muxer (TS / fMP4 / LL). v2.5.0 refused; v2.4.0..v2.4.3 served.
	github.com/bluenviron/gortmplib v0.3.1 // MIT. RTMP messages/handshake/AMF0 + Writer. v0.3.2, v0.4.0 refused; v0.3.0, v0.3.1 served.
	github.com/bluenviron/mediacommon/v2 v2.9.3 // MIT. H264/AAC/fMP4/pMP4/TS helpers. v2.10.0 refused; v2.9.0..v2.9.3 served.
	github.com/chromedp/chromedp v0.22.1 // MIT. Browser driver for tests. Latest served.
	github.com/coder/websocket v1.8.15 // ISC. WebSocket. Latest served.
	github.com/datarhei/gosrt v0.11.0 // MIT. SRT in pure Go. @latest and v0.12.0 refused; v0.9.0..v0.11.0 served. Built only, not exercised.
	github.com/ebitengine/purego v0.11.3 // Apache-2.0. dlopen of C codecs without cgo. Latest served.
	github.com/emiago/sipgo v1.7.2 // BSD-2. SIP stack. Latest served.
	github.com/go-chi/chi/v5 v5.5.0 // MIT. HTTP router. Latest served.
	github.com/gotranspile/g722 v0.0.0-20240123003956-384a1bb16a19 // BSD/public domain stated in README only (no LICENSE file). G.722; bit exact with spandsp. @latest refused, this pseudo-version served.
	github.com/icholy/digest v1.2.0 // MIT. HTTP/SIP digest (MD5, SHA-256, SHA-512, SHA-512-256).
	github.com/knadh/koanf/providers/confmap v1.0.1 // MIT. koanf provider.
	github.com/knadh/koanf/providers/env/v2 v2.0.2 // MIT. koanf provider.
	github.com/knadh/koanf/providers/structs v1.0.0 // MIT. koanf provider.
	github.com/knadh/koanf/v2 v2.4.1 // MIT. Configuration merge. Latest served.
	github.com/magiconair/properties v1.18.12 // BSD-2. Java style .properties. Latest served.
	github.com/minio/minio-go/v7 v7.4.1 // Apache-2.0. S3 upload. Latest served.
	github.com/nats-io/nats-server/v2 v2.15.2 // Apache-2.0. Embedded NATS. Latest served.
	github.com/nats-io/nats.go v1.55.0 // Apache-2.0. NATS client. Latest served.
	github.com/pion/interceptor v0.1.48 // MIT. RTCP/NACK/TWCC. v0.1.51 answers but wants transport/v5 (refused) with newer webrtc; v0.1.48 matches webrtc v4.2.20.
	github.com/pion/opus v0.1.0 // MIT. Opus DECODER only (no encoder, no PLC/FEC). Latest.
	github.com/pion/rtcp v1.2.17 // MIT. Version chosen by webrtc v4.2.20; v1.2.20 is served.
	github.com/pion/rtp v1.10.5 // MIT. Version chosen by webrtc v4.2.20; v1.10.6 is served.
	github.com/pion/sdp/v3 v3.0.19 // MIT. Version chosen by webrtc v4.2.20; v3.0.20 is served.
	github.com/pion/srtp/v3 v3.0.13 // MIT. v3.0.13 is the last on transport/v4; v3.1.x wants transport/v5 >= v5.1 (refused).
	github.com/pion/webrtc/v4 v4.2.20 // MIT. v4.2.21..v4.2.26 answer but require pion/transport/v5 v5.1.x whose zip is refused; v4.2.20 is the newest clean one.
	github.com/prometheus/client_golang v1.25.0 // Apache-2.0. Metrics. Latest served.
	github.com/spf13/cobra v1.10.2 // Apache-2.0. Command line (alternative to kong).
	github.com/stretchr/testify v1.12.1 // MIT. Tests. Latest served.
	github.com/thesyncim/gopus v0.1.2 // BSD-3. Opus encoder+decoder, pure Go port of libopus 1.6.1. v0.1.3, v0.2.0, @latest refused; v0.1.1, v0.1.2 served. v0.1.0 is retracted upstream.
	github.com/tphakala/go-aac v0.4.0 // LGPL-2.1-or-later. AAC-LC encoder/decoder. v0.4.1, v0.5.0, @latest refused; v0.4.0 served.
	github.com/tphakala/go-audio-resampler v1.2.0 // LGPL (LICENSE). Resampler; NOT recommended (16 ms delay at 8->48k). @latest refused; v1.0.0..v1.2.0 served.
	github.com/yutopp/go-rtmp v0.0.7 // BSL-1.0. RTMP. v0.0.8 and @latest refused; v0.0.7 (tag 2024-07-15) served.
	github.com/zaf/g711 v1.4.0 // BSD-3. G.711; allocates per call, use to build tables. @latest refused; v1.4.0 served.
	go.opentelemetry.io/otel v1.47.0 // Apache-2.0. Tracing API. Latest served.
	go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp v1.47.0 // Apache-2.0. OTLP/HTTP exporter.
	go.opentelemetry.io/otel/sdk v1.47.0 // Apache-2.0. Tracing SDK.
	go.uber.org/goleak v1.3.0 // MIT. Goroutine leak test.
	modernc.org/sqlite v1.60.1 // BSD-3. SQLite without cgo. v1.61.0/v1.61.1 answer but require a google/pprof version that is refused; v1.60.1 is clean.
	pgregory.net/rapid v1.3.0 // MPL-2.0. Property tests (test only).
)

require (
	github.com/antithesishq/antithesis-sdk-go v0.8.0-default-no-op // indirect
	github.com/asticode/go-astikit v0.30.0 // indirect
	github.com/benburkert/openpgp v0.0.0-20160410205803-c2471f86866c // indirect
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cenkalti/backoff/v5 v5.0.3 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/chromedp/cdproto v0.159.0 // indirect
	github.com/dustin/go-humanize v1.1.0 // indirect
	github.com/fatih/structs v1.1.0 // indirect
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	github.com/go-logr/logr v1.4.4 // indirect
	github.com/go-logr/stdr v1.2.2 // indirect
	github.com/go-viper/mapstructure/v2 v2.5.0 // indirect
	github.com/gobwas/httphead v0.1.0 // indirect
	github.com/gobwas/pool v0.2.1 // indirect
	github.com/gobwas/ws v1.3.2 // indirect
	github.com/google/go-tpm v0.9.8 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/grpc-ecosystem/grpc-gateway/v2 v2.30.0 // indirect
	github.com/hashicorp/errwrap v1.1.0 // indirect
	github.com/hashicorp/go-multierror v1.1.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/klauspost/cpuid/v2 v2.4.0 // indirect
	github.com/klauspost/crc32 v1.3.0 // indirect
	github.com/knadh/koanf/maps v0.1.2 // indirect
	github.com/mattn/go-isatty v0.0.24 // indirect
	github.com/minio/crc64nvme v1.1.1 // indirect
	github.com/minio/highwayhash v1.0.4 // indirect
	github.com/minio/md5-simd v1.1.2 // indirect
	github.com/mitchellh/copystructure v1.2.0 // indirect
	github.com/mitchellh/mapstructure v1.5.0 // indirect
	github.com/mitchellh/reflectwalk v1.0.2 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/nats-io/jwt/v2 v2.8.2 // indirect
	github.com/nats-io/nkeys v0.4.16 // indirect
	github.com/nats-io/nuid v1.0.1 // indirect
	github.com/ncruces/go-strftime v1.1.0 // indirect
	github.com/philhofer/fwd v1.2.0 // indirect
	github.com/pion/datachannel v1.6.2 // indirect
	github.com/pion/dtls/v3 v3.1.8 // indirect
	github.com/pion/ice/v4 v4.4.2 // indirect
	github.com/pion/logging v0.2.4 // indirect
	github.com/pion/mdns/v2 v2.2.0 // indirect
	github.com/pion/randutil v0.1.0 // indirect
	github.com/pion/sctp v1.11.1 // indirect
	github.com/pion/stun/v4 v4.0.0 // indirect
	github.com/pion/transport/v4 v4.1.0 // indirect
	github.com/pion/turn/v5 v5.1.0 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	github.com/prometheus/client_model v0.6.3 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	github.com/remyoudompheng/bigfft v0.0.0-20230129092748-24d4a6f8daec // indirect
	github.com/rs/xid v1.6.0 // indirect
	github.com/sirupsen/logrus v1.10.2 // indirect
	github.com/spf13/pflag v1.0.10 // indirect
	github.com/tinylib/msgp v1.6.4 // indirect
	github.com/tphakala/simd v1.5.0 // indirect
	github.com/wlynxg/anet v0.0.5 // indirect
	github.com/yutopp/go-amf0 v0.1.0 // indirect
	github.com/zeebo/xxh3 v1.1.0 // indirect
	go.opentelemetry.io/auto/sdk v1.2.1 // indirect
	go.opentelemetry.io/otel/exporters/otlp/otlptrace v1.47.0 // indirect
	go.opentelemetry.io/otel/log v1.47.0 // indirect
	go.opentelemetry.io/otel/metric v1.47.0 // indirect
	go.opentelemetry.io/otel/trace v1.47.0 // indirect
	go.opentelemetry.io/proto/otlp v1.11.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/net v0.60.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	golang.org/x/time v0.16.0 // indirect
	gonum.org/v1/gonum v0.17.0 // indirect
	google.golang.org/genproto/googleapis/api v0.0.0-20260928230214-8a89bd6388cc // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260928230214-8a89bd6388cc // indirect
	google.golang.org/grpc v1.83.2 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
	gopkg.in/ini.v1 v1.67.3 // indirect
	modernc.org/libc v1.77.1 // indirect
	modernc.org/mathutil v1.7.1 // indirect
	modernc.org/memory v1.12.1 // indirect
)
