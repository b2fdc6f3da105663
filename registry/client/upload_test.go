package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// streamFrom is the blob size, in bytes, from which the clients in tests stream. It exceeds the
// server's buffers, but is small enough for many tests.
const streamFrom = 2 << 20

func big() blob { return noise(streamFrom+12345, 7) }

func TestUploadOfSmallBlobs(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c := dial(t, r)
	for _, b := range []blob{noise(0, 1), noise(1, 1), noise(100_000, 1)} {
		upload(t, c, b.upload("x"), b)
	}
	kinds := r.Kinds()
	if kinds["POST uploads"] != 3 || kinds["PUT uploads"] != 3 || kinds["PATCH uploads"] != 0 || kinds["HEAD blobs"] != 0 {
		t.Errorf("the client sent the requests %v, want 3 POST and 3 PUT requests, and no PATCH or HEAD", kinds)
	}
}

func TestUploadStreamsLargeBlob(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c := dial(t, r)
	b := big()
	u := b.upload("x")
	kept := &sessions{}
	u.Sessions = kept
	var last int64
	u.Progress = func(n int64) { last = n }
	upload(t, c, u, b)
	kinds := r.Kinds()
	if kinds["POST uploads"] != 1 || kinds["PUT uploads"] != 1 || kinds["PATCH uploads"] != 1 {
		t.Errorf("the client sent the requests %v, want one POST, one PUT and one PATCH", kinds)
	}
	if kept.location != "" || last != int64(len(b.data)) {
		t.Errorf("after the upload, the saved session is %q and the progress is %d, want none and %d", kept.location, last, len(b.data))
	}
}

func TestMountOrUpload(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c := dial(t, r)
	b := noise(1000, 1)
	upload(t, c, b.upload("x"), b)
	u := b.upload("y")
	u.From = "x"
	if how := upload(t, c, u, b); how != client.Mounted {
		t.Errorf("Upload returned %v, want Mounted", how)
	}
	u.From = "nowhere" // the registry answers 202, and the client uses the session of this answer
	u.Repository = "z"
	if how := upload(t, c, u, b); how != client.Sent {
		t.Errorf("Upload returned %v, want Sent", how)
	}
	if n := r.Kinds()["POST uploads"]; n != 3 {
		t.Errorf("the client sent %d POST requests, want 3", n)
	}
}

func mounting(r *http.Request) bool {
	return r.Method == http.MethodPost && r.FormValue("mount") != ""
}

func TestRefusedMountsBecomeUploads(t *testing.T) {
	for _, status := range []int{401, 403, 404, 405, 500, 503} {
		r := registrytest.New(t, registrytest.Options{})
		r.Inject(registrytest.Answer(mounting, status))
		c := dial(t, r)
		for i := range 5 {
			b := noise(1000, byte(i))
			u := b.upload("y")
			u.From = "x"
			if how := upload(t, c, u, b); how != client.Sent {
				t.Errorf("with status %d for mounts, Upload returned %v, want Sent", status, how)
			}
		}
		if n := r.Kinds()["POST uploads"]; n != 5+3 {
			t.Errorf("with status %d for mounts, the client sent %d POST requests, want 8: five uploads and only three tries to mount", status, n)
		}
	}
}

func TestUploadsSurviveFaults(t *testing.T) {
	patch, put, post := registrytest.On("PATCH uploads"), registrytest.On("PUT uploads"), registrytest.On("POST uploads")
	const mid = streamFrom / 2
	for _, test := range []struct {
		name  string
		fault registrytest.Fault
		sent  float64 // the client may send at most this many times the blob's size
	}{
		{"reset in the middle of a PATCH", registrytest.Reset(registrytest.First(1, patch), mid), 2.1},
		{"reset of three PATCHes", registrytest.Reset(registrytest.First(3, patch), mid/4), 4.1},
		{"500 after the PATCH", registrytest.Answer(registrytest.First(2, patch), 500), 3.1},
		{"429 after the PATCH", registrytest.Answer(registrytest.First(1, patch), 429, "Retry-After: 0"), 2.1},
		{"answer to the PATCH lost", registrytest.Lose(registrytest.First(1, patch)), 1.1},
		{"answer to the PUT lost", registrytest.Lose(registrytest.First(1, put)), 1.1},
		{"answer to the POST lost", registrytest.Lose(registrytest.First(1, post)), 1.1},
		{"502 after the PUT", registrytest.Answer(registrytest.First(1, put), 502), 1.1},
		{"session forgotten at the PATCH", registrytest.AnswerCode(registrytest.First(1, patch), 404, "BLOB_UPLOAD_UNKNOWN"), 2.1},
		{"session forgotten at the PUT", registrytest.AnswerCode(registrytest.First(1, put), 404, "BLOB_UPLOAD_UNKNOWN"), 2.1},
		{"416 once", registrytest.AnswerCode(registrytest.First(1, patch), 416, "RANGE_INVALID"), 2.1},
		{"416 thrice", registrytest.AnswerCode(registrytest.First(3, patch), 416, "RANGE_INVALID"), 4.1},
		{"no PATCH", registrytest.Answer(patch, 405), 2.1},
		{"PATCH not supported, answered with 404", registrytest.Answer(patch, 404), 2.1},
		{"413 after large bodies", refuseLarge(streamFrom / 2), 2.1},
		{"a Range that is one too high", acknowledge("0-" + fmt.Sprint(streamFrom+12345)), 1.1},
		{"a Range that stays at zero", acknowledge("0-0"), 1.1},
		{"a Range that is too low", acknowledge("0-99"), 1.1},
		{"no Range", acknowledge(""), 1.1},
		{"417 to Expect", registrytest.Answer(func(r *http.Request) bool { return r.Header.Get("Expect") != "" }, 417), 1.1},
		{"cut in the PATCH, and the request for the offset answered with 400", cutAnd(400), 2.1},
		{"cut in the PATCH, and the request for the offset answered with 403", cutAnd(403), 2.1},
		{"cut in the PATCH, and the request for the offset answered with 405", cutAnd(405), 2.1},
		{"cut in the PATCH, and the request for the offset answered with 501", cutAnd(501), 2.1},
		{"wrong digest once", registrytest.AnswerCode(registrytest.First(1, put), 400, "DIGEST_INVALID"), 2.1},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := registrytest.New(t, registrytest.Options{Dir: t.TempDir()})
			r.Inject(test.fault)
			c := dial(t, r)
			b := big()
			upload(t, c, b.upload("x"), b)
			if sent := float64(c.Stats().Sent) / float64(len(b.data)); sent > test.sent {
				t.Errorf("the client sent %.2f times the size of the blob, want at most %.2f", sent, test.sent)
			}
			// Bytes in the buffer of a socket count as sent, so the test also checks the requests.
			requests := r.Requests()
			last := requests[len(requests)-3] // the last two requests are the PUT and this test's check
			if strings.HasPrefix(test.name, "reset") && (last.Method != http.MethodPatch || last.Length > int64(len(b.data))-mid/4) {
				t.Errorf("the last PATCH is %+v, want one that sends only what the registry does not have", last)
			}
		})
	}
}

func acknowledge(value string) registrytest.Fault {
	return registrytest.Edit(registrytest.On("PATCH uploads"), func(h http.Header) {
		h.Del("Range")
		if value != "" {
			h.Set("Range", value)
		}
	})
}

// cutAnd cuts the connection during the first PATCH, and answers requests for the offset with
// status.
func cutAnd(status int) registrytest.Fault {
	cut := registrytest.Reset(registrytest.First(1, registrytest.On("PATCH uploads")), streamFrom/2)
	refuse := registrytest.Answer(registrytest.On("GET uploads"), status)
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		return cut(w, r, next) || refuse(w, r, next)
	}
}

// refuseLarge acts as a proxy that accepts bodies of at most n bytes.
func refuseLarge(n int64) registrytest.Fault {
	return registrytest.Answer(func(r *http.Request) bool { return r.ContentLength > n }, 413, "Server: nginx")
}

// Several uploads run at once, so a proxy may refuse some bodies before the client has learned from the
// first refusal. Each upload must still try the smaller chunks.
func TestProxyRefusesSeveralUploadsAtOnce(t *testing.T) {
	const uploads = 3
	r := registrytest.New(t, registrytest.Options{})
	tooLarge := registrytest.First(uploads, func(r *http.Request) bool { return r.ContentLength > streamFrom })
	var arrived sync.WaitGroup
	arrived.Add(uploads)
	r.Inject(registrytest.Answer(func(r *http.Request) bool {
		if tooLarge(r) {
			arrived.Done()
			arrived.Wait()
		}
		return r.ContentLength > streamFrom/2
	}, 413, "Server: nginx"))
	c := dial(t, r)
	var done sync.WaitGroup
	for i := range uploads {
		b := noise(streamFrom+12345, byte(i))
		done.Go(func() {
			if _, err := c.Upload(t.Context(), b.upload("x")); err != nil {
				t.Errorf("upload %d returned the error %v, want none: the proxy accepts smaller chunks", i, err)
			}
		})
	}
	done.Wait()
}

func TestUploadFailsPermanently(t *testing.T) {
	patch := registrytest.On("PATCH uploads")
	for _, test := range []struct {
		name  string
		fault registrytest.Fault
		cause error
	}{
		{"403", registrytest.AnswerCode(registrytest.On("POST uploads"), 403, "DENIED"), client.ErrDenied},
		{"413 for everything", refuseLarge(streamFrom / 8), client.ErrTooLarge},
		{"500 forever", registrytest.Answer(patch, 500), client.ErrServer},
		{"wrong digest every time", registrytest.AnswerCode(registrytest.On("PUT uploads"), 400, "DIGEST_INVALID"), client.ErrRefused},
		{"session forgotten every time", registrytest.AnswerCode(patch, 404, "BLOB_UPLOAD_UNKNOWN"), client.ErrNotFound},
		{"no Location", registrytest.Edit(registrytest.On("POST uploads"), func(h http.Header) { h.Del("Location") }), client.ErrRefused},
		{"a malformed Location", registrytest.Edit(registrytest.On("POST uploads"), func(h http.Header) { h.Set("Location", "http://[") }), client.ErrRefused},
		{"a file URL as Location", registrytest.Edit(registrytest.On("POST uploads"), func(h http.Header) { h.Set("Location", "file:///etc/passwd") }), client.ErrRefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := registrytest.New(t, registrytest.Options{})
			r.Inject(test.fault)
			c := dial(t, r, func(o *client.Options) { o.Retries = 2 })
			b := big()
			_, err := c.Upload(t.Context(), b.upload("x"))
			wantCause(t, err, test.cause)
		})
	}
}

func TestUploadWrongContent(t *testing.T) {
	for _, n := range []int{1000, streamFrom + 1} {
		c := dial(t, registrytest.New(t, registrytest.Options{}))
		b := noise(n, 1)
		u := b.upload("x")
		flipped := bytes.Clone(b.data)
		flipped[n/2] ^= 1
		u.Open = func() (io.ReadSeekCloser, error) { return nopCloser{bytes.NewReader(flipped)}, nil }
		_, err := c.Upload(t.Context(), u)
		var local *client.LocalError
		if !errors.As(err, &local) {
			t.Errorf("uploading %d bytes returned the error %v, want a LocalError", n, err)
		}
	}
}

func TestUploadUnreadableContent(t *testing.T) {
	broken := errors.New("no such disk")
	for _, test := range map[string]func() (io.ReadSeekCloser, error){
		"open":  func() (io.ReadSeekCloser, error) { return nil, broken },
		"read":  func() (io.ReadSeekCloser, error) { return brokenReader{broken}, nil },
		"short": func() (io.ReadSeekCloser, error) { return nopCloser{strings.NewReader("short")}, nil },
	} {
		r := registrytest.New(t, registrytest.Options{})
		c := dial(t, r)
		u := noise(1000, 1).upload("x")
		u.Open = test
		_, err := c.Upload(t.Context(), u)
		var local *client.LocalError
		if !errors.As(err, &local) || !errors.Is(err, broken) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Upload returned the error %v, want a LocalError", err)
		}
		if n := r.Kinds()["POST uploads"]; n != 1 {
			t.Errorf("the client started %d uploads, want 1 without a retry", n)
		}
	}
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error)       { return 0, b.err }
func (b brokenReader) Seek(int64, int) (int64, error) { return 0, nil }
func (b brokenReader) Close() error                   { return nil }

func TestUploadsResumeInAnotherProcess(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Dir: t.TempDir()})
	b := big()
	u := b.upload("x")
	kept := &sessions{}
	u.Sessions = kept
	r.Inject(registrytest.Reset(registrytest.First(1, registrytest.On("PATCH uploads")), streamFrom/2))
	first := dial(t, r, func(o *client.Options) { o.Retries = -1 })
	if _, err := first.Upload(t.Context(), u); err == nil {
		t.Fatal("the first upload returned no error, want one")
	}
	if kept.location == "" {
		t.Fatal("the first upload saved no session, want one")
	}
	second := dial(t, r)
	upload(t, second, u, b)
	if sent := float64(second.Stats().Sent) / float64(len(b.data)); sent > 0.6 {
		t.Errorf("the second upload sent %.2f times the size of the blob, want at most 0.6", sent)
	}
	if kept.location != "" {
		t.Errorf("after the second upload, the session %s is still saved, want none", kept.location)
	}
}

func TestUnusableSavedSessionsAreReplaced(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	for _, location := range []string{
		"http://" + r.Host + "/v2/x/blobs/uploads/2b4b0a1c-8a2e-4c5e-8a3a-2f5f1d7d9f11?_state=none",
		"https://" + r.Host + "/v2/x/blobs/uploads/1", // saved when the registry still used TLS
		"http://10.0.0.1:1/v2/x/blobs/uploads/1", "nonsense", "http://[", "file:///etc/passwd",
	} {
		c := dial(t, r)
		b := big()
		u := b.upload("x")
		kept := &sessions{location}
		u.Sessions = kept
		upload(t, c, u, b)
		if kept.location != "" {
			t.Errorf("after an upload with the unusable session %s, a session is still saved, want none", location)
		}
	}
}

// interruptUpload cuts the connections of the first n PATCH requests. It uploads a blob until the first cut, and
// returns the upload and its saved session.
func interruptUpload(t *testing.T, r *registrytest.Registry, b blob, n int) (client.Upload, *sessions) {
	t.Helper()
	u, kept := b.upload("x"), &sessions{}
	u.Sessions = kept
	r.Inject(registrytest.Reset(registrytest.First(n, registrytest.On("PATCH uploads")), streamFrom/2))
	if _, err := dial(t, r, func(o *client.Options) { o.Retries = -1 }).Upload(t.Context(), u); err == nil || kept.location == "" {
		t.Fatalf("the first upload returned the error %v and saved the session %q, want an error and a session", err, kept.location)
	}
	return u, kept
}

// distribution answers 500 to each request for an upload whose content is gone from its storage
// (v3.1.2, registry/handlers/blobupload.go, GetUploadStatus; goharbor/harbor issue 22619). Such a saved
// session must not make every later push fail. If the registry itself fails, the session stays saved.
func TestSessionsThatTheRegistryFailsToReport(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Dir: t.TempDir()})
	b := big()
	u, kept := interruptUpload(t, r, b, 1)
	retry := func(o *client.Options) { o.Retries = 2 }
	saved := kept.location
	r.Inject(registrytest.AnswerCode(func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/uploads/") }, 500, "UNKNOWN"))
	_, err := dial(t, r, retry).Upload(t.Context(), u)
	wantCause(t, err, client.ErrServer)
	if kept.location != saved {
		t.Errorf("after an upload to a failing registry, the saved session is %q, want still %q", kept.location, saved)
	}
	r.Heal()
	location, err := url.Parse(saved)
	if err != nil {
		t.Fatal(err)
	}
	r.Inject(registrytest.AnswerCode(func(r *http.Request) bool { return r.URL.Path == location.Path }, 500, "UNKNOWN"))
	upload(t, dial(t, r, retry), u, b)
	if kept.location != "" {
		t.Errorf("after the upload, the session %s is still saved, want none", kept.location)
	}
}

// If a registry answers 500 to all requests, and works again right after the retries of an upload, the upload fails. So
// the next one resumes it, and need not send the blob again from its start.
func TestSessionsOutliveFailureOfRegistry(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Dir: t.TempDir()})
	b := big()
	u, _ := interruptUpload(t, r, b, 1)
	const requests = 4 // three for the offset, and one for a new upload
	uploads := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/uploads/") }
	r.Inject(registrytest.AnswerCode(registrytest.First(requests, uploads), 500, "UNKNOWN"))
	_, err := dial(t, r, func(o *client.Options) { o.Retries = 2 }).Upload(t.Context(), u)
	wantCause(t, err, client.ErrServer)
	last := dial(t, r)
	upload(t, last, u, b)
	if sent := float64(last.Stats().Sent) / float64(len(b.data)); sent > 0.6 {
		t.Errorf("the last upload sent %.2f times the size of the blob, want at most 0.6: the registry still had the first half", sent)
	}
}

// distribution also answers 500 to the PUT that completes such an upload (goharbor/harbor issue 22619: "s3aws: Path
// not found: .../_uploads/.../data"). Then the same upload starts over. If the registry still has the content of
// the session, it fails for another reason. Then the content is not sent again, and the session stays saved.
func TestSessionsThatTheRegistryFailsToComplete(t *testing.T) {
	for name, lost := range map[string]bool{"content lost": true, "content present": false} {
		t.Run(name, func(t *testing.T) {
			r := registrytest.New(t, registrytest.Options{})
			var uploads atomic.Int64
			r.Inject(registrytest.AnswerCode(func(req *http.Request) bool {
				switch (registrytest.Request{Method: req.Method, Path: req.URL.Path}).Kind() {
				case "POST uploads":
					uploads.Add(1)
				case "PUT uploads":
					return !lost || uploads.Load() == 1
				case "GET uploads":
					return lost && uploads.Load() == 1
				}
				return false
			}, 500, "UNKNOWN"))
			c := dial(t, r, func(o *client.Options) { o.Retries = 2 })
			b := big()
			u := b.upload("x")
			kept := &sessions{}
			u.Sessions = kept
			if lost {
				upload(t, c, u, b)
			} else {
				_, err := c.Upload(t.Context(), u)
				wantCause(t, err, client.ErrServer)
			}
			if (kept.location == "") != lost {
				t.Errorf("after the upload, the saved session is %q, want one only if the upload failed", kept.location)
			}
			if n, want := r.Kinds()["PATCH uploads"], map[bool]int{true: 2, false: 1}[lost]; n != want {
				t.Errorf("the client sent %d PATCH requests, want %d", n, want)
			}
		})
	}
}

func TestFormsOfUploadLocation(t *testing.T) {
	for name, edit := range map[string]func(host, location string) string{
		"absolute": func(host, location string) string { return location },
		"relative": func(host, location string) string { return strings.TrimPrefix(location, "http://"+host) },
		"no host":  func(host, location string) string { return strings.TrimPrefix(location, "http:") },
	} {
		r := registrytest.New(t, registrytest.Options{})
		r.Inject(registrytest.Edit(func(r *http.Request) bool { return true }, func(h http.Header) {
			if l := h.Get("Location"); l != "" {
				h.Set("Location", edit(r.Host, l))
			}
		}))
		c := dial(t, r)
		for _, b := range []blob{noise(1000, 1), big()} {
			t.Run(name, func(t *testing.T) { upload(t, c, b.upload("x"), b) })
		}
	}
}

// A Location on another host at a private address must be allowed explicitly. The client follows
// it without a login.
func TestLocationsElsewhere(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Basic: true})
	other := registrytest.New(t, registrytest.Options{Handler: r})
	r.Inject(registrytest.Edit(func(*http.Request) bool { return true }, func(h http.Header) {
		if l := h.Get("Location"); l != "" {
			l = strings.Replace(l, r.Host, other.Host, 1)
			h.Set("Location", l)
		}
	}))
	login := func(o *client.Options) { o.Credential = user }
	b := big()
	_, err := dial(t, r, login).Upload(t.Context(), b.upload("x"))
	e := failure(t, err, client.ErrPrivate)
	if !strings.Contains(e.Error(), "--allow-private-redirects") {
		t.Errorf("the error is %v, want --allow-private-redirects in it", e)
	}
	allowed := func(o *client.Options) { o.AllowPrivateRedirects = true }
	_, err = dial(t, r, login, allowed).Upload(t.Context(), b.upload("x"))
	if e := failure(t, err, client.ErrOtherHost); e.Host != other.Host {
		t.Errorf("the error is %v, want the other host as its host", e)
	}
	for _, q := range other.Requests() {
		if q.Authorization != "" {
			t.Errorf("the other host received the login with %s, want no login", q.Kind())
		}
	}
	// If the other host requires no login, the client uploads to it.
	other.Inject(func(_ http.ResponseWriter, req *http.Request, _ http.Handler) bool {
		req.SetBasicAuth(user.Username, user.Password)
		return false
	})
	upload(t, dial(t, r, login, allowed), b.upload("x"), b)
	if other.Kinds()["PATCH uploads"] == 0 {
		t.Error("the other host received no PATCH request, want one")
	}
}

func TestUploadEndsWhenCancelled(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	stall, release := registrytest.Stall(registrytest.On("PATCH uploads"))
	defer release()
	ctx, cancel := contextWithCancel(t)
	r.Inject(func(w http.ResponseWriter, req *http.Request, next http.Handler) bool {
		if req.Method == http.MethodPatch {
			time.AfterFunc(10*time.Millisecond, cancel)
		}
		return stall(w, req, next)
	})
	b := big()
	u := b.upload("x")
	kept := &sessions{}
	u.Sessions = kept
	if _, err := dial(t, r).Upload(ctx, u); !errors.Is(err, ctx.Err()) {
		t.Errorf("the cancelled upload returned the error %v, want the context's error", err)
	}
	if kept.location == "" {
		t.Error("the cancelled upload saved no session, want one")
	}
}

func TestProbeUpload(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c := dial(t, r)
	if refused, err := c.ProbeUpload(t.Context(), "x"); err != nil || refused != nil {
		t.Errorf("ProbeUpload = refusal %v, error %v; want neither", refused, err)
	}
	if n := r.Kinds()["DELETE uploads"]; n != 1 {
		t.Errorf("the upload was cancelled %d times, want once", n)
	}
	r.Inject(registrytest.Answer(registrytest.On("PATCH uploads"), 405))
	if refused, err := c.ProbeUpload(t.Context(), "x"); err != nil || !errors.Is(refused, client.ErrUnsupported) {
		t.Errorf("ProbeUpload = refusal %v, error %v; want a refusal with the cause ErrUnsupported", refused, err)
	}
}

// If a client asks to mount a blob that exists nowhere, the registry starts an upload, and
// ProbeMount cancels it. If the registry refuses, ProbeMount returns the reason. If the registry
// claims to have mounted the nonexistent blob, the client tries no more mounts.
func TestProbeMount(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		cause  error
		mounts int // how many mounts the client tries after the probe
	}{
		"as specified": {0, nil, 1},
		"missing":      {404, nil, 1},
		"denied":       {403, client.ErrDenied, 1},
		"unsupported":  {405, client.ErrUnsupported, 1},
		"false claim":  {201, client.ErrMismatch, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := registrytest.New(t, registrytest.Options{})
			c := dial(t, r)
			b := noise(1000, 1)
			upload(t, c, b.upload("x"), b)
			r.Forget()
			if test.status != 0 {
				r.Inject(registrytest.Answer(mounting, test.status))
			}
			refused, err := c.ProbeMount(t.Context(), "y", "x")
			if err != nil || (refused != nil) != (test.cause != nil) || test.cause != nil && !errors.Is(refused, test.cause) {
				t.Errorf("ProbeMount = refusal %v, error %v; want a refusal with the cause %v", refused, err, test.cause)
			}
			left := map[bool]int{true: 1}[test.status == 0]
			if kinds := r.Kinds(); kinds["POST uploads"] != 1 || kinds["DELETE uploads"] != left || kinds["PUT uploads"] != 0 {
				t.Errorf("the probe sent the requests %v, want one POST, no PUT, and one DELETE only if an upload was started", kinds)
			}
			r.Heal()
			r.Forget()
			u := b.upload("y")
			u.From = "x"
			upload(t, c, u, b)
			mounts := 0
			for _, q := range r.Requests() {
				if strings.Contains(q.Query, "mount=") {
					mounts++
				}
			}
			if mounts != test.mounts {
				t.Errorf("the client tried %d mounts after the probe, want %d", mounts, test.mounts)
			}
		})
	}
	r := registrytest.New(t, registrytest.Options{})
	r.Inject(registrytest.Answer(mounting, 500))
	if refused, err := dial(t, r).ProbeMount(t.Context(), "y", "x"); !errors.Is(refused, client.ErrServer) || err != nil {
		t.Errorf("ProbeMount = refusal %v, error %v; want a refusal with the cause ErrServer", refused, err) // a server error counts as a refusal, because the client can upload the blob instead
	}
}

// The client of serve --push-to lives for months. Uploads in chunks and mounts that the registry refused for
// a while are used again once the preflight of a later push shows that they work.
func TestProbesEndEarlierRefusals(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c := dial(t, r)
	b := big()
	upload(t, c, b.upload("x"), b)
	r.Inject(func(w http.ResponseWriter, req *http.Request, next http.Handler) bool {
		return registrytest.Answer(registrytest.On("PATCH uploads"), 404)(w, req, next) || registrytest.Answer(mounting, 403)(w, req, next)
	})
	for _, repository := range []string{"a", "b", "c", "d"} {
		u := b.upload(repository)
		u.From = "x"
		if how := upload(t, c, u, b); how != client.Sent {
			t.Errorf("with a registry that refuses mounts, Upload returned %v, want Sent", how)
		}
	}
	r.Heal()
	if refused, err := c.ProbeUpload(t.Context(), "y"); refused != nil || err != nil {
		t.Fatalf("ProbeUpload = refusal %v, error %v; want neither", refused, err)
	}
	if refused, err := c.ProbeMount(t.Context(), "y", "x"); refused != nil || err != nil {
		t.Fatalf("ProbeMount = refusal %v, error %v; want neither", refused, err)
	}
	r.Forget()
	u := b.upload("y")
	u.From = "x"
	if how := upload(t, c, u, b); how != client.Mounted {
		t.Errorf("after a successful ProbeMount, Upload returned %v, want Mounted", how)
	}
	other := noise(streamFrom+1, 9)
	upload(t, c, other.upload("y"), other)
	if n := r.Kinds()["PATCH uploads"]; n != 1 {
		t.Errorf("after a successful ProbeUpload, the client sent %d PATCH requests, want 1", n)
	}
}

// A proxy in front of a registry may answer a single request with its own 404. If the registry has accepted
// chunks before, for example in the preflight, this does not mean that it does not support them.
func TestSingle404DoesNotEndChunkedUploads(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c := dial(t, r)
	if refused, err := c.ProbeUpload(t.Context(), "x"); refused != nil || err != nil {
		t.Fatalf("ProbeUpload = refusal %v, error %v; want neither", refused, err)
	}
	r.Forget()
	r.Inject(registrytest.Answer(registrytest.First(1, registrytest.On("PATCH uploads")), 404))
	for _, b := range []blob{big(), noise(streamFrom+1, 9)} {
		upload(t, c, b.upload("x"), b)
	}
	if n := r.Kinds()["PATCH uploads"]; n != 3 {
		t.Errorf("the client sent %d PATCH requests, want 3: one that got 404, and one per upload", n)
	}
}
