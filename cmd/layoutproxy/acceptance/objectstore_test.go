package acceptance

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/s3"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// objectStore is an object store with the S3 API, and one bucket in it.
type objectStore struct {
	endpoint, bucket string
	key, secret      string
	client           *s3.Client
}

// fakeStore runs a fake object store. With the returned server, a test can make requests fail.
func fakeStore(t *testing.T) (objectStore, *buckettest.Server) {
	t.Helper()
	server := buckettest.Start(t)
	return newObjectStore(t, server.URL, buckettest.Bucket, buckettest.AccessKey, buckettest.SecretKey), server
}

// newObjectStore returns an object store with its client. It also sets the store's credentials in
// the environment, for layoutproxy.
func newObjectStore(t *testing.T, endpoint, name, key, secret string) objectStore {
	t.Helper()
	o := objectStore{endpoint: endpoint, bucket: name, key: key, secret: secret}
	for _, v := range o.env() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	var err error
	o.client, err = s3.NewClient(s3.Options{Endpoint: endpoint, PathStyle: true})
	must(t, err)
	return o
}

func (o objectStore) env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + o.key, "AWS_SECRET_ACCESS_KEY=" + o.secret, "AWS_REGION=us-east-1"}
}

// place returns the s3:// URL of a prefix in the bucket.
func (o objectStore) place(prefix string) string { return "s3://" + o.bucket + "/" + prefix }

func (o objectStore) open(t *testing.T, prefix string) bucket.Bucket {
	t.Helper()
	at, err := bucket.ParsePlace(o.place(prefix))
	must(t, err)
	return o.client.Open(at)
}

// upload uploads the files of a directory to the bucket, below a prefix.
func (o objectStore) upload(t *testing.T, dir, prefix string) {
	t.Helper()
	to := o.open(t, prefix)
	for name, content := range layouttest.ReadFiles(t, dir) {
		_, err := to.Put(t.Context(), name, strings.NewReader(content), int64(len(content)), bucket.PutOptions{})
		must(t, err)
	}
}

// flags returns the flags with which layoutproxy can reach the store, followed by the given flags.
func (o objectStore) flags(more ...string) []string {
	return append([]string{"--s3-endpoint", o.endpoint, "--s3-path-style"}, more...)
}

// run runs layoutproxy with the flags and the credentials of the store.
func (o objectStore) run(t *testing.T, command string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	stdout, stderr, err := execute(t, t.TempDir(), program, slices.Concat([]string{command}, args, o.flags()), o.env()...)
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return exit.ExitCode(), stdout, stderr
	}
	must(t, err)
	return 0, stdout, stderr
}
