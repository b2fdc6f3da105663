package exit_test

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// A push and a pull give advice for an error from a registry. In /status, the error and its advice are on one
// line.
func TestAdviceForRegistryErrors(t *testing.T) {
	quota := &client.Error{Op: "put blob", Host: "harbor.example", Repository: "deckhouse/ee", Status: 403, Side: client.SideRegistry, Cause: client.ErrDenied,
		Codes: []client.Code{{Code: "DENIED", Message: "adding 1 MiB of storage resource, which when updated to current usage of 9 MiB will exceed the configured upper limit of 9 MiB."}}}
	wrong := &client.Error{Op: "token", Host: "auth.example", Repository: "deckhouse/ee", Status: 401, Side: client.SideToken, Cause: client.ErrUnauthorized}
	nobody := &client.Error{Op: "get manifest", Host: "registry.example", Repository: "deckhouse/ee", Status: 401, Anonymous: true, Side: client.SideRegistry, Cause: client.ErrUnauthorized}
	for _, test := range []struct {
		err           error
		cause, remedy string
	}{
		{quota, "a quota of deckhouse is used up", "raise the quota"},
		{wrong, "the token server auth.example refuses the login", "check the name and the password"},
		{nobody, "nobody is logged in to registry.example", "docker login"},
		{&push.ProofError{Differences: []push.Difference{{Kind: push.Missing, Repository: "a", Reference: "v1"}}}, "although it acknowledged them", "--check-blobs"},
		{&push.ProofError{Differences: []push.Difference{{Kind: push.WrongSize, Repository: "a", Reference: "sha256:1"}}}, "wrong-size: a sha256:1", "delete sha256:1 from the repository a in the registry"},
	} {
		for name, sorted := range map[string]error{"push": exit.PushError(test.err), "pull": exit.PullError(t.Context(), test.err)} {
			var unproven *push.ProofError
			if name == "pull" && errors.As(test.err, &unproven) {
				continue
			}
			if hint := exit.Hint(sorted); !strings.Contains(sorted.Error(), test.cause) || !strings.Contains(hint, test.remedy) {
				t.Errorf("%s: got the error %v with the hint %q, want %q with %q", name, sorted, hint, test.cause, test.remedy)
			}
			if line := exit.OneLine(sorted); !strings.Contains(line, test.cause) || !strings.Contains(line, test.remedy) {
				t.Errorf("%s: OneLine() = %q, want a line with %q and %q", name, line, test.cause, test.remedy)
			}
		}
	}
}

// If a user may not read a bundle, the advice of an import is about the bundle. Otherwise, it is about the store.
func TestAdviceForPermissions(t *testing.T) {
	denied := &fs.PathError{Op: "open", Path: "/media/bundle", Err: syscall.EACCES}
	for _, test := range []struct {
		err  error
		want string
	}{
		{&importer.BundleError{Err: denied}, "the bundle cannot be read"},
		{denied, "an import writes to the store"},
	} {
		if hint := exit.Hint(exit.ImportError(test.err)); !strings.HasPrefix(hint, test.want) {
			t.Errorf("%T: got the hint %q, want one that begins with %q", test.err, hint, test.want)
		}
	}
}

// The advice for a full disk says that nothing was changed, unless the publication has begun. Then part of
// the publication may have been written.
func TestAdviceForFullDisk(t *testing.T) {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, &importer.NoSpaceError{}} {
		if hint := exit.Hint(exit.ImportError(full)); !strings.HasPrefix(hint, "nothing was changed") {
			t.Errorf("the hint before the publication is %q, want one that begins with \"nothing was changed\"", hint)
		}
		if hint := exit.Hint(exit.ImportError(&importer.UnfinishedError{Err: full})); hint != "free some space and import again" {
			t.Errorf("the hint during the publication is %q, want only \"free some space and import again\"", hint)
		}
		if hint := exit.Hint(exit.PruneError(&importer.UnfinishedError{Err: full})); !strings.Contains(hint, "free some space") && !errors.As(full, new(*importer.NoSpaceError)) {
			t.Errorf("%v: the hint of a prune is %q, want one with \"free some space\"", full, hint)
		}
	}
}
