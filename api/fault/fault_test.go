package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCodeOf(t *testing.T) {
	require.Equal(t, Internal, CodeOf(errors.New("plain")))
	require.Equal(t, Conflict, CodeOf(New(Conflict, "taken")))
	require.Equal(t, NotFound, CodeOf(fmt.Errorf("while looking: %w", New(NotFound, "gone"))), "a wrapped fault keeps its class")
	require.Equal(t, BadRequest, CodeOf(errors.Join(errors.New("x"), New(BadRequest, "y"))))
}

func TestErrorKeepsItsCause(t *testing.T) {
	err := New(Internal, "open %q: %w", "a.mp4", fs.ErrPermission)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.Equal(t, `open "a.mp4": permission denied`, err.Error())
}

// The classes are HTTP statuses, which the REST API relies on.
func TestCodesAreStatuses(t *testing.T) {
	for _, c := range []Code{BadRequest, Unauthorized, Forbidden, NotFound, Conflict, TooLarge, Internal, Unavailable} {
		require.NotEmpty(t, http.StatusText(int(c)))
	}
}
