//! What faults are made of, tried by itself: that a cut cuts, that a delay delays, that a power cut takes what was not
//! synced and nothing else. A harness that harms nothing would find nothing.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    net::UdpSocket,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use pondage_cluster_tests::{
    machine,
    network::{Host, Network, Shape, Traffic},
    volume::Volume,
};

const PORT: u16 = 5_000;

/// Whether the machine can make faults; says loudly if not.
fn is_able() -> bool {
    let able = machine::prepare();
    if let Err(error) = &able {
        eprintln!("SKIPPED: {error:#}");
    }
    able.is_ok()
}

/// A socket on a host.
fn socket(network: &Network, host: Host) -> Result<UdpSocket> {
    network.namespace(host).within(|| {
        let socket = UdpSocket::bind((host.address(), PORT))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(socket)
    })
}

/// How many of `sent` packets arrive, and how long the last of them took.
fn arrivals(from: &UdpSocket, to: &UdpSocket, sent: u32) -> Result<(u32, Duration)> {
    let target = to.local_addr()?;
    let (mut arrived, mut took) = (0, Duration::ZERO);
    for _ in 0..sent {
        let started = Instant::now();
        from.send_to(b"a packet", target)?;
        match to.recv_from(&mut [0; 64]) {
            Ok((length, _)) => {
                ensure!(length == 8, "{length} bytes");
                arrived += 1;
                took = started.elapsed();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => bail!(error),
        }
    }
    Ok((arrived, took))
}

#[test]
fn packets_go_as_it_is_wished() {
    if !is_able() {
        return;
    }
    let network = Network::new(3).expect("a network");
    let [one, two, three] = [1, 2, 3].map(|host| socket(&network, Host(host)).expect("a socket"));
    let count = |from: &UdpSocket, to: &UdpSocket| arrivals(from, to, 3).expect("sockets work").0;
    assert_eq!((count(&one, &two), count(&two, &one), count(&one, &three)), (3, 3, 3), "nothing is cut");

    network.set(&Traffic::default().cut_one_way(Host(1), Host(2))).expect("a cut");
    assert_eq!((count(&one, &two), count(&two, &one)), (0, 3), "one way is cut");

    network.set(&Traffic::default().cut(Host(1), Host(2))).expect("a cut");
    let partial = (count(&one, &two), count(&two, &one), count(&one, &three), count(&two, &three));
    assert_eq!(partial, (0, 0, 3, 3), "both ways are cut between two");

    network.set(&Traffic { loss_permille: 500, ..Traffic::default() }).expect("a loss");
    let (arrived, _) = arrivals(&one, &two, 40).expect("sockets work");
    assert!((4..=36).contains(&arrived), "{arrived} of 40 at a loss of one half");

    let delay = Duration::from_millis(20);
    let shape = Shape { delay, ..Shape::default() };
    network.set(&Traffic { shape: Some(shape), ..Traffic::default() }).expect("a delay");
    let (arrived, took) = arrivals(&one, &two, 3).expect("sockets work");
    assert_eq!(arrived, 3);
    assert!(took >= delay && took < delay * 4, "{took:?}");

    let shape = Shape { jitter: Duration::from_millis(10), duplicates_percent: 50, ..Shape::default() };
    network.set(&Traffic { shape: Some(shape), ..Traffic::default() }).expect("jitter");
    let target = two.local_addr().expect("its address");
    for number in 0..50_u8 {
        one.send_to(&[number], target).expect("sockets work");
    }
    let mut seen = Vec::new();
    let mut byte = [0];
    while two.recv_from(&mut byte).is_ok() {
        seen.push(byte[0]);
    }
    assert!(seen.len() > 55, "{} came, none twice", seen.len());
    assert!(!seen.is_sorted(), "none overtook another");

    network.set(&Traffic::default()).expect("healed");
    let (arrived, took) = arrivals(&one, &two, 3).expect("sockets work");
    assert!(arrived == 3 && took < delay, "{arrived} in {took:?} when all is healed");
}

#[test]
fn a_power_cut_takes_what_was_not_synced() {
    if !is_able() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("pondage-cluster-{}", std::process::id()));
    fs::create_dir(&folder).expect("a folder");
    let mut volume = Volume::create(folder.join("image"), folder.join("volume"), 64 << 20).expect("a volume");
    let [kept, lost] = ["kept", "lost"].map(|name| volume.path().join(name));
    let mut file = File::create(&kept).expect("a file");
    file.write_all(b"synced").expect("a write");
    file.sync_all().expect("a sync");
    File::open(volume.path()).and_then(|folder| folder.sync_all()).expect("a sync");
    file.write_all(b" and not").expect("a write");
    fs::write(&lost, b"not synced").expect("a write");
    volume.cut_power().expect("a cut");
    assert!(fs::write(volume.path().join("late"), b"late").is_err(), "nothing works without power");
    drop(file);
    volume.restore_power().expect("power");
    assert_eq!(fs::read(&kept).expect("the synced file"), b"synced");
    assert!(
        fs::read(&lost).is_err() || fs::read(&lost).is_ok_and(|bytes| bytes.is_empty()),
        "what was not synced"
    );

    volume.fill().expect("a ballast");
    assert!(fs::write(&lost, vec![1; 1 << 20]).is_err(), "a full volume takes nothing");
    volume.relieve().expect("relief");
    fs::write(&lost, vec![1; 1 << 20]).expect("room again");
    drop(volume);
    fs::remove_dir_all(&folder).expect("nothing holds it");
}
