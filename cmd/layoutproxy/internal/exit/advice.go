package exit

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// SourceError sorts what opening a tree failed with.
func SourceError(err error) error {
	switch {
	case errors.Is(err, layoutstore.ErrRootInvalid):
		return UsageError(WithHint(err, "a root is lower-case path segments separated by slashes, as deckhouse/ee; at most 255 bytes"))
	case errors.Is(err, layoutstore.ErrNoSource):
		return UsageError(WithHint(err, "name the directory of the bundle: layoutproxy serve /media/bundle"))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return WithHint(err, "is the disk mounted? a source is a directory, a .tar or a chunk of one")
	}
	return err
}

// ProblemsError is the error for n problems that keep a command from being done.
func ProblemsError(n int) error {
	noun := "problems"
	if n == 1 {
		noun = "problem"
	}
	return ContentError(fmt.Errorf("%d %s in the sources", n, noun))
}

// RegistryError adds to what a registry, or the way to it, failed with what to do next.
func RegistryError(err error) error {
	for _, h := range []struct {
		cause error
		hint  string
	}{
		{client.ErrPlainHTTP, "add --plain-http if this network is safe without TLS"},
		{client.ErrNotTLS, "is it a registry? add --plain-http if it speaks HTTP without TLS and this network is safe without"},
		{client.ErrCertificate, "trust its authority with --ca-file, or skip the check with --insecure-skip-tls-verify"},
		{client.ErrPrivate, "add --allow-private-redirects"},
		{client.ErrCredentials, "mend or move the file, or give --username and --password-stdin"},
		{client.ErrOtherHost, "have the registry, or its token server, answer itself or lead where no login is needed; or name the host that it leads to"},
		{client.ErrTooMany, "does the registry, or a proxy in front of it, repeat its pages? if the list is as long as that, remove old tags there"},
		{client.ErrStalled, "is a proxy or firewall in between? lower --jobs if the way is slow"},
	} {
		if errors.Is(err, h.cause) && Hint(err) == "" {
			return WithHint(err, h.hint)
		}
	}
	var known *push.Diagnosis
	if errors.As(push.Diagnose(err), &known) {
		return WithHint(known, known.Remedy)
	}
	if errors.Is(err, client.ErrUnauthorized) {
		return WithHint(err, "log in with docker login, or give --username and --password-stdin")
	}
	return err
}

// PushError sorts what a push, or a comparison, failed with.
func PushError(err error) error {
	var side *push.Error
	var gap *push.GapError
	var known *push.Diagnosis
	switch {
	case errors.As(err, &gap):
		return ContentError(gapError(gap, err))
	case errors.As(err, &side) && side.Side == push.SideTree:
		return ContentError(WithHint(err, "layoutproxy verify says what else is wrong with the sources"))
	case errors.As(err, &known) && known.Remedy != "":
		return WithHint(err, known.Remedy)
	}
	return RegistryError(err)
}

// gapError adds what to do about a registry that did not keep what it acknowledged.
func gapError(gap *push.GapError, err error) error {
	for _, d := range gap.Gaps {
		if d.Kind == push.WrongSize {
			return WithHint(err, "a damaged copy keeps its place in the registry: delete "+d.Reference+" of "+d.Repository+" there, and push again with --check-blobs")
		}
	}
	return WithHint(err, "look at the registry's storage and what is in front of it, and for another writer; then push again with --check-blobs, which sends what is missing")
}
