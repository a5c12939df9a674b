#!/bin/sh
# Installs what the tests need besides Go, on Debian: a C compiler (for the race
# detector only, the server is built without), soft phone, SIP registrar, media proxy, SIP load tester,
# RTMP server, ffmpeg, GStreamer, Chromium, Firefox, tshark, libraries of optional codecs and those that ours are compared with, and from npm what test/package.json names.
# Does nothing, quickly, when all of it is there. No service is started or
# enabled: the tests start their own programs on free ports.
set -eu
cd "$(dirname "$0")/.."

packages="gcc libc6-dev baresip-core baresip-ffmpeg linphone-cli kamailio kamailio-tls-modules rtpengine-daemon sip-tester nginx-light libnginx-mod-rtmp ffmpeg gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav chromium firefox-esr iproute2 tshark nodejs npm libspeex1 libbcg729-0 libopus0 libspandsp2 libvo-aacenc0"

# A program that is there from elsewhere counts as installed.
have() {
	case $1 in
	nodejs) command -v node >/dev/null && return ;;
	gcc | npm | ffmpeg | chromium | firefox-esr | tshark) command -v "$1" >/dev/null && return ;;
	esac
	dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'
}

missing=
for p in $packages; do
	have "$p" || missing="$missing $p"
done

if [ -n "$missing" ]; then
	if ! command -v apt-get >/dev/null; then
		echo "The tests need these programs (Debian's names):$missing. This is no Debian: install them and put them in PATH." >&2
		exit 1
	fi
	root=
	if [ "$(id -u)" != 0 ]; then
		if ! command -v sudo >/dev/null; then
			echo "The tests need these packages:$missing. Install them as root: apt-get install --no-install-recommends$missing" >&2
			exit 1
		fi
		root=sudo
	fi
	echo "installing:$missing"
	# Packages that ask policy-rc.d do not start their services.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		trap '$root rm -f $policy' EXIT
		printf '#!/bin/sh\nexit 101\n' | $root tee $policy >/dev/null
		$root chmod 755 $policy
	fi
	$root apt-get update -q
	# shellcheck disable=SC2086 # a list
	$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
fi

# npm notes in node_modules what it has installed: same lock file, nothing to do.
stamp=test/node_modules/.installed
if ! cmp -s test/package-lock.json $stamp; then
	(cd test && npm ci --no-audit --no-fund --ignore-scripts)
	cp test/package-lock.json $stamp
fi
