package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
)

const (
	// The smallest chunk for a proxy that limits bodies is Options.StreamFrom divided by minChunk.
	minChunk = 3
	// mountRefusals is the number of refused mounts after which the client tries no more mounts.
	// Once a mount was granted, there is no limit.
	mountRefusals = 3
	// falseMounts is the number of refused mounts once the registry has falsely claimed a mount.
	falseMounts = 1 << 30
)

// Sessions saves the upload session of one blob, so that a later process can resume the upload.
type Sessions interface {
	// Load returns the last saved Location, or "".
	Load() string
	// Save saves a Location. If saving fails, a later process cannot resume the upload.
	Save(location string)
	// Drop deletes the saved Location.
	Drop()
}

// Upload describes a blob to upload.
type Upload struct {
	Repository string
	Digest     digest.Digest
	Size       int64
	// Open opens the content at its start. It may be called several times.
	Open func() (io.ReadSeekCloser, error)
	// From is a repository to mount the blob from, or "".
	From string
	// Sessions saves the upload session. nil means that it is not saved.
	Sessions Sessions
	// Progress is called with the number of bytes that the registry has or that were sent to it.
	// The number decreases when bytes have to be sent again. Progress may be nil.
	Progress func(int64)
}

// Uploaded tells how a blob was added to a repository: Sent or Mounted.
type Uploaded int

// The possible values of Uploaded.
const (
	Sent Uploaded = iota
	Mounted
)

// Upload mounts or uploads a blob. A blob smaller than Options.StreamFrom takes one POST and one
// PUT. A larger blob is sent with PATCH. If that is interrupted, in this process or an earlier
// one, the upload resumes at the byte that the registry reports. The registry checks the digest.
// The error is a *LocalError if the content cannot be read or does not match the digest.
// Otherwise, it is an *Error or the context's.
func (c *Client) Upload(ctx context.Context, u Upload) (Uploaded, error) {
	x := &uploading{blob: u, c: c, content: &content{size: u.Size, reader: u.Open, progress: u.Progress}}
	if x.blob.Sessions == nil {
		x.blob.Sessions = noSessions{}
	}
	if err := c.Ping(ctx); err != nil {
		return 0, err
	}
	x.recall()
	for {
		how, err := x.run(ctx)
		arrived := err == nil || x.arrived(ctx, err)
		if arrived {
			x.blob.Sessions.Drop()
			return how, nil
		}
		if err := x.recover(ctx, err); err != nil {
			return 0, err
		}
	}
}

type uploading struct {
	blob    Upload
	c       *Client
	content *content

	session *session
	// pos is the number of bytes that the registry has.
	pos int64
	// ask means that pos is unknown, so that the client has to ask the registry for it first.
	ask bool
	// fresh means that the session is new and empty.
	fresh bool
	// body is the size, in bytes, of the last body with content that was sent.
	body int64
	// commits means that everything was sent once, so that the registry may have the blob.
	commits bool
	// failed counts the failures since furthest, the largest value of pos, last grew.
	failed   failures
	furthest int64
	restarts int
	// invalid is how often the registry computed a wrong digest.
	invalid int
	// disputes is how often the registry rejected the offset that it had reported itself.
	disputes int
	// denied means that the registry refused to report the offset, or answered 500 to all requests for it.
	denied bool
	// offsetFailed means that the registry answered 500 to all requests for the offset, and no new session has started since.
	offsetFailed bool
	// commitFailed means that the registry answered 500 to all attempts to complete a session.
	commitFailed bool

	// elsewhere means that the session was saved by an earlier process and is on another host.
	elsewhere bool
}

// recall loads the session that an earlier process saved.
func (x *uploading) recall() {
	location := x.blob.Sessions.Load()
	if location == "" || !x.isStreamed() {
		return
	}
	base := x.c.base.Load()
	to, err := url.Parse(location)
	if err != nil || x.c.checkRedirect(base, to) != nil || to.Host == base.Host && !SameHost(base, to) {
		x.blob.Sessions.Drop()
		return
	}
	x.session = &session{c: x.c, repository: x.blob.Repository, digest: x.blob.Digest.String(), location: to}
	x.ask, x.elsewhere = true, !x.c.isRegistry(to)
}

func (x *uploading) isStreamed() bool {
	if x.c.noPatch.Load() {
		return false
	}
	chunk := x.c.chunk.Load()
	return x.blob.Size >= x.c.options.StreamFrom || chunk > 0 && x.blob.Size > chunk
}

// run continues the upload until it is complete, or until the first error.
func (x *uploading) run(ctx context.Context) (Uploaded, error) {
	if x.session == nil {
		mounted, err := x.start(ctx)
		if mounted || err != nil {
			return Mounted, err
		}
	}
	if !x.isStreamed() {
		x.commits, x.body = true, x.blob.Size
		return Sent, x.session.commit(ctx, x.content, x.blob.Size)
	}
	return Sent, x.stream(ctx)
}

// start mounts the blob if it knows a repository to mount it from. Otherwise, or if the mount is
// refused, it starts an upload session.
func (x *uploading) start(ctx context.Context) (mounted bool, err error) {
	from := x.blob.From
	if x.c.mountsRefused.Load() >= mountRefusals {
		from = ""
	}
	if from != "" {
		x.blob.From = "" // a mount is tried only once
		x.session, err = x.c.mount(ctx, x.blob.Repository, x.blob.Digest.String(), from)
	}
	if refused := mountRefused(err); from == "" || refused {
		if refused {
			x.c.mountsRefused.Add(1)
		}
		// If the registry has not reported the offset, the client sends only one request. If the registry itself
		// fails, retries might last until it works again, and the client would then replace a session that can still
		// be resumed.
		x.session, err = x.c.begin(ctx, x.blob.Repository, x.blob.Digest.String(), "", x.offsetFailed)
	}
	if err != nil {
		x.session = nil
		return false, err
	}
	x.offsetFailed = false
	if x.session == nil {
		x.c.mountsRefused.Store(-1 << 30)
		return true, nil
	}
	x.pos, x.ask, x.fresh, x.commits = 0, false, true, false
	if x.isStreamed() {
		x.blob.Sessions.Save(x.session.location.String())
	}
	return false, nil
}

// mountRefused reports whether err means that the registry refused a mount, or answered with a
// server error. The client then uploads the blob.
func mountRefused(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Status >= 500 || e.Status >= 400 && !e.temporary())
}

// stream sends the bytes that the registry does not have yet, and then commits the upload.
func (x *uploading) stream(ctx context.Context) error {
	if x.ask {
		n, err := x.session.offset(ctx)
		if err != nil {
			return err
		}
		if n == x.blob.Size+1 {
			n = x.blob.Size // such a registry counts bytes from one
		}
		if n > x.blob.Size {
			return errForgotten
		}
		x.advance(n)
		x.ask = false
	}
	for x.pos < x.blob.Size {
		end := x.blob.Size
		if chunk := x.c.chunk.Load(); chunk > 0 {
			end = min(end, x.pos+chunk)
		}
		ranged := !x.fresh || end < x.blob.Size
		x.ask, x.fresh, x.body = true, false, end-x.pos
		if err := x.session.patch(ctx, x.content, x.pos, end, ranged); err != nil {
			return err
		}
		x.advance(end)
		x.ask = false
		x.blob.Sessions.Save(x.session.location.String())
	}
	x.commits = true
	return x.session.commit(ctx, nil, x.blob.Size)
}

// advance records that the registry has n bytes.
func (x *uploading) advance(n int64) {
	x.pos = n
	if n > x.furthest {
		x.furthest, x.failed = n, failures{}
	}
	if x.blob.Progress != nil {
		x.blob.Progress(n)
	}
}

var errForgotten = errors.New("the registry no longer knows the upload session")

// recover prepares another attempt after err. If another attempt cannot help, it returns the error
// with which the upload fails.
func (x *uploading) recover(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var e *Error
	switch {
	case errors.Is(err, errForgotten):
		return x.restart(&Error{Op: opPatch, Host: x.c.options.Registry, Repository: x.blob.Repository, Reference: x.blob.Digest.String(), Side: SideRegistry, Cause: ErrRefused, Err: err})
	case !errors.As(err, &e) || x.session == nil:
		return err
	case e.Op == opOffset && e.Status == http.StatusForbidden && !x.denied:
		// Starting a new upload shows whether the registry refuses all uploads, or only requests
		// for the offset. The saved session is replaced when the new upload has started.
		x.denied, x.session = true, nil
		return nil
	case e.Op == opOffset && (cannotAnswer(e) || x.elsewhere && (e.Status == 0 || e.Status == http.StatusUnauthorized)):
		x.elsewhere = false // the session's host may be gone for good, or require a login, which the client never sends to it
		return x.restart(e)
	case e.Status == http.StatusRequestEntityTooLarge:
		return x.shrink(e)
	case e.HasCode("DIGEST_INVALID"):
		return x.checkDigest(ctx, e)
	case e.Op == opPatch && x.pos == 0 && refusesPatch(e) && !x.mayBeForgotten(e):
		x.c.noPatch.Store(true)
		x.giveUp()
		return nil
	case e.Status == http.StatusRequestedRangeNotSatisfiable:
		return x.checkOffset(ctx, e)
	case e.Status == http.StatusNotFound, e.HasCode("BLOB_UPLOAD_UNKNOWN"), e.HasCode("BLOB_UPLOAD_INVALID"), e.HasCode("SIZE_INVALID"),
		errors.Is(e.Cause, ErrMismatch):
		return x.restart(e)
	}
	if err := x.c.pause(ctx, &x.failed, e, false); err != nil {
		switch {
		case e.Status != http.StatusInternalServerError || ctx.Err() != nil:
		case e.Op == opCommit && !x.commitFailed && x.c.options.Retries > 0:
			// The registry may have lost the session's content. The request for the offset then fails, too.
			x.commitFailed, x.ask = true, true
			return nil
		case e.Op == opOffset && !x.denied:
			// The registry may have lost the session's content. Starting a new upload shows whether the registry
			// itself fails. The saved session is replaced when the new upload has started.
			x.denied, x.offsetFailed, x.session, x.failed = true, true, nil, failures{}
			return nil
		}
		return err
	}
	if !x.isStreamed() {
		x.session = nil // an interrupted PUT leaves the session in an unknown state, so the upload starts over
	}
	return nil
}

// mayBeForgotten reports whether a 404 to the first chunk may mean that the registry has lost the session: it
// has accepted chunks before, and the upload has not started over yet.
func (x *uploading) mayBeForgotten(e *Error) bool {
	return e.Status == http.StatusNotFound && x.c.patched.Load() && x.restarts == 0
}

// cannotAnswer reports whether the registry will never report the offset, so the upload must
// restart.
func cannotAnswer(e *Error) bool {
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	return e.Status/100 == 4 || e.Status == http.StatusNotImplemented
}

// giveUp forgets the session, including the saved one.
func (x *uploading) giveUp() {
	x.blob.Sessions.Drop()
	x.session = nil
}

// restart drops the session, so that the upload starts over. After too many restarts, it fails.
func (x *uploading) restart(err error) error {
	x.giveUp()
	if x.restarts++; x.restarts > max(x.c.options.Retries, 1) {
		return err
	}
	return nil
}

// checkOffset waits before the client asks for the offset again, because the registry may still
// be writing earlier bytes. After two attempts, the upload starts over.
func (x *uploading) checkOffset(ctx context.Context, e *Error) error {
	if x.disputes++; x.disputes > 2 {
		x.disputes = 0
		return x.restart(e)
	}
	return x.c.options.Clock.Sleep(ctx, x.c.backoff(x.disputes-1))
}

// shrink reduces the chunk size after a 413 response. If that is impossible, it returns e. If another
// upload has reduced the chunk size since the body was sent, that may be enough.
func (x *uploading) shrink(e *Error) error {
	stream, chunk := x.c.options.StreamFrom, x.c.chunk.Load()
	if x.c.noPatch.Load() || x.body <= stream/minChunk {
		return e
	}
	if chunk == 0 || chunk >= x.body {
		// If this fails, another upload has just changed the chunk size.
		x.c.chunk.CompareAndSwap(chunk, max(stream/minChunk, min(x.body/4, stream)))
	}
	x.giveUp()
	return nil
}

// checkDigest computes the digest of the content. It is called when the registry reports a wrong
// digest, to find out whether the content or the registry is wrong.
func (x *uploading) checkDigest(ctx context.Context, e *Error) error {
	got, err := x.content.digest(ctx, x.blob.Digest.Algorithm())
	if err != nil {
		return err
	}
	if got != x.blob.Digest {
		x.giveUp()
		return &LocalError{fmt.Errorf("%s: checksum mismatch: content is %s", x.blob.Digest, got)}
	}
	if x.invalid++; x.invalid > 1 {
		return e
	}
	return x.restart(e)
}

// arrived reports whether the registry has the blob although err occurred. The answer to the
// commit may have been lost.
func (x *uploading) arrived(ctx context.Context, err error) bool {
	var e *Error
	if !x.commits || !errors.As(err, &e) || e.Status != 0 && e.Status != http.StatusNotFound && e.Status < 500 {
		return false
	}
	n, err := x.c.HeadBlob(ctx, x.blob.Repository, x.blob.Digest)
	return err == nil && (n == x.blob.Size || n == UnknownSize)
}

type noSessions struct{}

func (noSessions) Load() string { return "" }
func (noSessions) Save(string)  {}
func (noSessions) Drop()        {}
