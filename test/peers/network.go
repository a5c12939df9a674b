package peers

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"
)

// ownAddress is this machine's address in a network of a test's own (RFC 5737).
const ownAddress = "198.51.100.1"

const ownNetwork = `ip link set lo up && ip link add v0 type veth peer name v1 && ip addr add ` + ownAddress + `/24 dev v0 &&
ip link set v0 up && ip link set v1 up && ip route add default dev v0 && exec "$@"`

// OwnNetwork runs the test in a network that nobody else is in, where there is an
// address besides those of the loopback interface, which some peers do not use:
// Firefox for media. It returns the address inside, and "" when the test, run again
// inside, is over: then there is nothing left to do.
func OwnNetwork(t *testing.T) (address string) {
	t.Helper()
	const inside = "LINEOUT_TEST_NETWORK"
	if os.Getenv(inside) != "" {
		return ownAddress
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	args := []string{"--net"}
	if os.Getuid() != 0 {
		args = append(args, "--map-root-user")
	}
	cmd := exec.CommandContext(ctx, "unshare", append(args, "sh", "-c", ownNetwork, "sh", self, "-test.run=^"+t.Name()+"$", "-test.v")...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("in a network of its own:\n%s", out)
	if err != nil {
		t.Errorf("in a network of its own: %v", err)
	}
	return ""
}
